"""The made-up history of `hitrate demo`: the working days of five people and their CI.

Pure and seeded. People and agents edit, push and merge; their runs come out as the caches have it.
Tasks that had the commit in their hash are mended one after the other, so the hit rate rises; and
for some days CI had a variable in all hashes that was another in each run.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from random import Random

from hitrate.demo.repo import PACKAGES, Repo, Task, Tree
from hitrate.demo.shared_cache import CachedArtifact, LocalCache, Run, Sender, SharedCache

DAY_MS = 86_400_000
GITHUB = Sender("ci: GitHub", "GITHUB_ACTIONS", False, None)
GITLAB = Sender("ci: GitLab", "GITLAB", False, None)
LAPTOPS = [Sender(f"laptop {number}", None, True, None) for number in range(1, 6)]

_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000
_NIGHTLY_HOURS = 3
_AGENTS = ("claude", "cursor", "codex")
_BAD_WEEK_AT = 0.55
_BAD_DAYS = 4
_ODD_AT = 0.8
_SATURDAY = 5

_Job = Callable[[int], None]


@dataclass(slots=True)
class _Laptop:
    """A working copy: what it was taken from, what was edited since (lastly the package `last`),
    and turbo's cache on the disk."""

    sender: Sender
    base: dict[int, int]
    edits: dict[int, int] = field(default_factory=dict)
    last: int = 0
    commit: int = 0
    known: LocalCache = field(default_factory=dict)

    @property
    def tree(self) -> Tree:
        return self.base | self.edits


class WorkloadSimulator:
    """Days are those of UTC; the last is that of `now_ms`, and nothing happens after that.

    The same seed and days tell the same; a later `now_ms` of the same day tells more of it.
    """

    def __init__(self, seed: int, days: int, now_ms: int) -> None:
        self._random = Random(seed)  # noqa: S311  # reason: made-up data, nothing secret
        self._now_ms = now_ms
        self._days = days
        self.start_ms = (now_ms // DAY_MS - days + 1) * DAY_MS
        middle_ms = self.start_ms + int(days * _BAD_WEEK_AT) * DAY_MS
        self._bad_from_ms = middle_ms + (1 - _weekday(middle_ms)) * DAY_MS  # from Tuesday on
        self._repo = Repo(self._random)
        self._cache = SharedCache(self._repo, self._random)
        self._main = dict.fromkeys(range(PACKAGES), 0)
        self._laptops = [_Laptop(sender, dict(self._main)) for sender in LAPTOPS]
        self._commits = self._versions = self._numbers = 0
        self._odd_is_due = True
        self._jobs: list[tuple[int, int, _Job]] = []
        self._told: list[Run] = []

    def days(self) -> Iterator[list[Run]]:
        """The runs that began on each day and have ended, in the order in which they began.

        A history can be told once.
        """
        for number in range(self._days):
            day_ms = self.start_ms + number * DAY_MS
            self._plan(day_ms)
            until_ms = min(day_ms + DAY_MS - 1, self._now_ms)
            while self._jobs and self._jobs[0][0] <= until_ms:
                at_ms, _, job = heapq.heappop(self._jobs)
                job(at_ms)
            told, self._told = self._told, []
            yield told

    def kept(self) -> Iterator[CachedArtifact]:
        """What the cache holds in the end."""
        for one in self._cache.kept.values():
            if one.task.at_ms <= self._now_ms:
                one.used_ms = min(one.used_ms, self._now_ms)
                yield one

    def _plan(self, day_ms: int) -> None:
        random, weekend = self._random, _weekday(day_ms) >= _SATURDAY
        for hour in range(0, 24, _NIGHTLY_HOURS):
            self._at(day_ms + hour * _HOUR_MS + 7 * _MINUTE_MS, self._nightly)
        for laptop in self._laptops:
            if random.random() < (0.94 if weekend else 0.08):  # a day off
                continue
            for _ in range(2 if weekend else random.randint(4, 9)):
                self._at(self._working_hour(day_ms), partial(self._work, laptop))
            if not weekend and random.random() < 0.1 + 0.5 * self._progress(day_ms):
                agent = partial(self._let_agent, laptop, random.choice(_AGENTS), 4)
                self._at(self._working_hour(day_ms), agent)

    def _working_hour(self, day_ms: int) -> int:
        middle, width = self._random.choice(((9.5, 1.0), (14.5, 1.6)))
        hour = min(max(self._random.gauss(middle, width), 6.0), 20.0)
        return day_ms + int(hour * _HOUR_MS)

    def _at(self, at_ms: int, job: _Job) -> None:
        self._numbers += 1  # two jobs at one moment go in this order
        heapq.heappush(self._jobs, (at_ms, self._numbers, job))

    def _nightly(self, at_ms: int) -> None:
        """A scheduled pipeline: one package after the other, also when nobody works."""
        package = PACKAGES - 1 - at_ms // _HOUR_MS // _NIGHTLY_HOURS % PACKAGES
        self._ci(GITLAB, at_ms, self._repo.around(package), self._main, self._commits)

    def _work(self, laptop: _Laptop, at_ms: int) -> None:
        """A person tries what they have done; now and then it is good enough to be pushed."""
        random = self._random
        if not laptop.edits and random.random() < 0.6:
            self._pull(laptop)
        if not laptop.edits or random.random() < 0.6:
            self._edit(laptop)
        widely = random.random() < 0.3
        tasks = self._repo.affected(laptop.edits) if widely else self._repo.around(laptop.last)
        self._local(laptop, laptop.sender, at_ms, tasks)
        if random.random() < 0.3:
            self._at(at_ms + random.randint(1, 15) * _MINUTE_MS, partial(self._push, laptop))

    def _let_agent(self, laptop: _Laptop, agent: str, more: int, at_ms: int) -> None:
        """Many small steps in a row, on somebody's laptop."""
        self._edit(laptop)
        sender = laptop.sender._replace(interactive=False, agent=agent)
        self._local(laptop, sender, at_ms, self._repo.around(laptop.last))
        following = partial(self._let_agent, laptop, agent, more - 1)
        later_ms = at_ms + self._random.randint(150, 420) * 1000
        self._at(later_ms, following if more else partial(self._push, laptop))

    def _push(self, laptop: _Laptop, at_ms: int) -> None:
        """CI builds the branch; some hours later it may be merged."""
        random = self._random
        if not laptop.edits:
            return
        self._commits += 1
        laptop.commit = self._commits
        affected = random.random() < 0.4
        tasks = self._repo.affected(laptop.edits) if affected else self._repo.tasks
        self._ci(GITHUB, at_ms, tasks, laptop.tree, laptop.commit)
        if random.random() < 0.45:
            self._at(at_ms + random.randint(30, 300) * _MINUTE_MS, partial(self._merge, laptop))

    def _merge(self, laptop: _Laptop, at_ms: int) -> None:
        if not laptop.edits:
            return
        for package, version in laptop.edits.items():
            alone = self._main[package] == laptop.base[package]
            self._main[package] = version if alone else self._version()
        self._commits += 1
        self._pull(laptop)
        self._ci(GITHUB, at_ms, self._repo.tasks, self._main, self._commits)
        if self._random.random() < 0.5:
            self._at(at_ms + 6 * _MINUTE_MS, self._deploy)

    def _deploy(self, at_ms: int) -> None:
        self._ci(GITLAB, at_ms, self._repo.tasks, self._main, self._commits)

    def _pull(self, laptop: _Laptop) -> None:
        laptop.base, laptop.edits, laptop.commit = dict(self._main), {}, self._commits

    def _edit(self, laptop: _Laptop) -> None:
        """Mostly the package that was edited last: people stay with one thing for a while."""
        if not laptop.edits or self._random.random() < 0.25:
            [laptop.last] = self._random.choices(range(PACKAGES), self._repo.weights)
        laptop.edits[laptop.last] = self._version()

    def _version(self) -> int:
        self._versions += 1
        return self._versions

    def _local(self, laptop: _Laptop, sender: Sender, at_ms: int, tasks: Iterable[Task]) -> None:
        run = self._cache.run(
            sender, at_ms, tasks, laptop.tree, laptop.commit, stamped=1, known=laptop.known
        )
        if self._odd_is_due and sender.interactive and self._progress(at_ms) > _ODD_AT:
            self._odd_is_due = not run.set_clock_back()
        self._tell(run)

    def _ci(
        self, sender: Sender, at_ms: int, tasks: Iterable[Task], tree: Tree, commit: int
    ) -> None:
        bad = sender is GITHUB and 0 <= at_ms - self._bad_from_ms < _BAD_DAYS * DAY_MS
        stamped = -1 if bad else self._progress(at_ms)
        self._tell(self._cache.run(sender, at_ms, tasks, tree, commit, stamped=stamped))

    def _tell(self, run: Run) -> None:
        if run.ended_ms <= self._now_ms:
            self._told.append(run)

    def _progress(self, at_ms: int) -> float:
        """How much of the history has passed, from 0 to 1."""
        return (at_ms - self.start_ms) / (self._days * DAY_MS)


def _weekday(at_ms: int) -> int:
    """0 is Monday; the first day of 1970 was a Thursday."""
    return (at_ms // DAY_MS + 3) % 7
