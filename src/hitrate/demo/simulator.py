"""Simulated workload: the working days of five developers, their coding agents and CI.

Developers and agents edit, push and merge, and the simulated caches decide the outcomes of their
runs. Two mistakes make the hit rate worth looking at: tasks that have the commit in their hash are
fixed one after the other, so the hit rate rises; and for a few days a variable in CI makes all
hashes differ from run to run. Pure: all randomness comes from the seed.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from random import Random

from hitrate.demo.monorepo import PACKAGES, Monorepo, Task, Tree
from hitrate.demo.shared_cache import CachedArtifact, LocalCache, Run, Sender, SharedCache

DAY_MS = 86_400_000
GITHUB = Sender("ci: GitHub", "GITHUB_ACTIONS", False, None)
GITLAB = Sender("ci: GitLab", "GITLAB", False, None)
LAPTOPS = [Sender(f"laptop {number}", None, True, None) for number in range(1, 6)]

_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000
_PIPELINE_INTERVAL_HOURS = 3
_AGENTS = ("claude", "cursor", "codex")
_AGENT_STEPS = 5
_UNIQUE_HASHES_START = 0.55  # fraction of the period
_UNIQUE_HASHES_DAYS = 4
_ANOMALY_START = 0.8  # fraction of the period
_SATURDAY = 5

_Job = Callable[[int], None]


@dataclass(slots=True)
class _Laptop:
    """Working copy of a developer.

    `base`: the tree that was pulled. `edits`: changed packages, most recently `last_edited`.
    """

    sender: Sender
    base: dict[int, int]
    edits: dict[int, int] = field(default_factory=dict)
    last_edited: int = 0
    commit: int = 0
    cache: LocalCache = field(default_factory=dict)

    @property
    def tree(self) -> Tree:
        return self.base | self.edits


class WorkloadSimulator:
    """Simulates whole UTC days up to `now_ms`.

    The same seed and number of days give the same runs; a later `now_ms` of the same day adds
    runs.
    """

    def __init__(self, seed: int, days: int, now_ms: int) -> None:
        self._random = Random(seed)  # noqa: S311  # reason: simulated data, no secrets
        self._now_ms = now_ms
        self._days = days
        self.start_ms = (now_ms // DAY_MS - days + 1) * DAY_MS
        mistake_ms = self.start_ms + int(days * _UNIQUE_HASHES_START) * DAY_MS
        # It starts on the Tuesday of that week.
        self._unique_hashes_from_ms = mistake_ms + (1 - _weekday(mistake_ms)) * DAY_MS
        self._repo = Monorepo(self._random)
        self._cache = SharedCache(self._repo, self._random)
        self._main = dict.fromkeys(range(PACKAGES), 0)
        self._laptops = [_Laptop(sender, dict(self._main)) for sender in LAPTOPS]
        self._commits = self._versions = self._job_numbers = 0
        self._anomaly_pending = True
        self._jobs: list[tuple[int, int, _Job]] = []
        self._finished_runs: list[Run] = []

    def days(self) -> Iterator[list[Run]]:
        """Yield the runs that started on each day and have ended, ordered by start.

        May be called once.
        """
        for number in range(self._days):
            day_ms = self.start_ms + number * DAY_MS
            self._plan_day(day_ms)
            until_ms = min(day_ms + DAY_MS - 1, self._now_ms)
            while self._jobs and self._jobs[0][0] <= until_ms:
                at_ms, _, job = heapq.heappop(self._jobs)
                job(at_ms)
            finished_runs, self._finished_runs = self._finished_runs, []
            yield finished_runs

    def cached_artifacts(self) -> Iterator[CachedArtifact]:
        """Yield the artifacts in the remote cache at the end of the simulation."""
        for artifact in self._cache.artifacts.values():
            if artifact.task.at_ms <= self._now_ms:
                artifact.used_ms = min(artifact.used_ms, self._now_ms)
                yield artifact

    def _plan_day(self, day_ms: int) -> None:
        random, weekend = self._random, _weekday(day_ms) >= _SATURDAY
        for hour in range(0, 24, _PIPELINE_INTERVAL_HOURS):
            self._schedule(day_ms + hour * _HOUR_MS + 7 * _MINUTE_MS, self._scheduled_pipeline)
        for laptop in self._laptops:
            if random.random() < (0.94 if weekend else 0.08):  # day off
                continue
            for _ in range(2 if weekend else random.randint(4, 9)):
                self._schedule(self._working_hour(day_ms), partial(self._work, laptop))
            if not weekend and random.random() < 0.1 + 0.5 * self._progress(day_ms):
                agent = partial(self._agent_step, laptop, random.choice(_AGENTS), _AGENT_STEPS - 1)
                self._schedule(self._working_hour(day_ms), agent)

    def _working_hour(self, day_ms: int) -> int:
        mean, deviation = self._random.choice(((9.5, 1.0), (14.5, 1.6)))
        hour = min(max(self._random.gauss(mean, deviation), 6.0), 20.0)
        return day_ms + int(hour * _HOUR_MS)

    def _schedule(self, at_ms: int, job: _Job) -> None:
        self._job_numbers += 1  # orders jobs at the same time
        heapq.heappush(self._jobs, (at_ms, self._job_numbers, job))

    def _scheduled_pipeline(self, at_ms: int) -> None:
        """Run the scheduled pipeline of one package; packages take turns, day and night."""
        package = PACKAGES - 1 - at_ms // _HOUR_MS // _PIPELINE_INTERVAL_HOURS % PACKAGES
        self._run_in_ci(GITLAB, at_ms, self._repo.filtered(package), self._main, self._commits)

    def _work(self, laptop: _Laptop, at_ms: int) -> None:
        """Edit and run tasks, as a developer; sometimes push afterwards."""
        random = self._random
        if not laptop.edits and random.random() < 0.6:
            self._pull(laptop)
        if not laptop.edits or random.random() < 0.6:
            self._edit(laptop)
        runs_affected = random.random() < 0.3
        tasks = (
            self._repo.affected(laptop.edits)
            if runs_affected
            else self._repo.filtered(laptop.last_edited)
        )
        self._run_locally(laptop, laptop.sender, at_ms, tasks)
        if random.random() < 0.3:
            self._schedule(at_ms + random.randint(1, 15) * _MINUTE_MS, partial(self._push, laptop))

    def _agent_step(self, laptop: _Laptop, agent: str, remaining: int, at_ms: int) -> None:
        """Edit and run tasks, as a coding agent; repeat this `remaining` times, then push."""
        self._edit(laptop)
        sender = laptop.sender._replace(interactive=False, agent=agent)
        self._run_locally(laptop, sender, at_ms, self._repo.filtered(laptop.last_edited))
        next_step = partial(self._agent_step, laptop, agent, remaining - 1)
        next_ms = at_ms + self._random.randint(150, 420) * 1000
        self._schedule(next_ms, next_step if remaining else partial(self._push, laptop))

    def _push(self, laptop: _Laptop, at_ms: int) -> None:
        """Push the branch: CI builds it, and it may be merged some hours later."""
        random = self._random
        if not laptop.edits:
            return
        self._commits += 1
        laptop.commit = self._commits
        runs_affected = random.random() < 0.4
        tasks = self._repo.affected(laptop.edits) if runs_affected else self._repo.tasks
        self._run_in_ci(GITHUB, at_ms, tasks, laptop.tree, laptop.commit)
        if random.random() < 0.45:
            self._schedule(
                at_ms + random.randint(30, 300) * _MINUTE_MS, partial(self._merge, laptop)
            )

    def _merge(self, laptop: _Laptop, at_ms: int) -> None:
        if not laptop.edits:
            return
        for package, version in laptop.edits.items():
            fast_forward = self._main[package] == laptop.base[package]
            self._main[package] = version if fast_forward else self._next_version()
        self._commits += 1
        self._pull(laptop)
        self._run_in_ci(GITHUB, at_ms, self._repo.tasks, self._main, self._commits)
        if self._random.random() < 0.5:
            self._schedule(at_ms + 6 * _MINUTE_MS, self._deploy)

    def _deploy(self, at_ms: int) -> None:
        self._run_in_ci(GITLAB, at_ms, self._repo.tasks, self._main, self._commits)

    def _pull(self, laptop: _Laptop) -> None:
        laptop.base, laptop.edits, laptop.commit = dict(self._main), {}, self._commits

    def _edit(self, laptop: _Laptop) -> None:
        """Edit a package, in most cases the same as before."""
        if not laptop.edits or self._random.random() < 0.25:
            [laptop.last_edited] = self._random.choices(range(PACKAGES), self._repo.weights)
        laptop.edits[laptop.last_edited] = self._next_version()

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    def _run_locally(
        self, laptop: _Laptop, sender: Sender, at_ms: int, tasks: Iterable[Task]
    ) -> None:
        run = self._cache.run(
            sender, at_ms, tasks, laptop.tree, laptop.commit, progress=1, local_cache=laptop.cache
        )
        if self._anomaly_pending and sender.interactive and self._progress(at_ms) > _ANOMALY_START:
            self._anomaly_pending = not run.add_anomaly()
        self._record(run)

    def _run_in_ci(
        self, sender: Sender, at_ms: int, tasks: Iterable[Task], tree: Tree, commit: int
    ) -> None:
        since_mistake_ms = at_ms - self._unique_hashes_from_ms
        run = self._cache.run(
            sender,
            at_ms,
            tasks,
            tree,
            commit,
            progress=self._progress(at_ms),
            unique_hashes=sender is GITHUB and 0 <= since_mistake_ms < _UNIQUE_HASHES_DAYS * DAY_MS,
        )
        self._record(run)

    def _record(self, run: Run) -> None:
        if run.ended_ms <= self._now_ms:
            self._finished_runs.append(run)

    def _progress(self, at_ms: int) -> float:
        """Return the fraction (0 to 1) of the simulated period that has passed."""
        return (at_ms - self.start_ms) / (self._days * DAY_MS)


def _weekday(at_ms: int) -> int:
    """Return the day of the week in UTC, 0 for Monday."""
    # 1970 began on a Thursday.
    return (at_ms // DAY_MS + 3) % 7
