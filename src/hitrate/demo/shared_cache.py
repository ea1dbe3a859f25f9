"""How the made-up runs of `hitrate demo` come out. Pure and seeded.

Outcomes are not drawn by lot: tasks are looked up in caches that keep what earlier runs made, so a
hit has a run that made its artifact, and the hit rate follows from what changes between runs.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from hitrate.demo.repo import Repo, Task, Tree

CACHE_BYTES = 45_000_000
"""What the demo's cache keeps; the least recently used go first."""

_WORKERS = 4
_LOOK_UP_MS = 300
_CLOCK_SET_BACK_MS = -3_600_000


class Sender(NamedTuple):
    """Who runs: `token` is the label of one, the rest is what a client says of itself."""

    token: str
    ci: str | None
    interactive: bool
    agent: str | None


class TaskResult(NamedTuple):
    """A task that ended, at `at_ms`. `size_bytes` is that of its artifact in the shared cache,
    0 for a local hit."""

    at_ms: int
    hash: str
    outcome: str
    duration_ms: int
    size_bytes: int


@dataclass(slots=True)
class Run:
    """A run of turbo. `dirty_hash` is None where all was committed."""

    session_id: str
    sender: Sender
    started_ms: int
    ended_ms: int
    tasks: list[TaskResult]
    sha: str
    dirty_hash: str | None

    def set_clock_back(self) -> bool:
        """Have the first local hit tell a time below zero; whether there is one."""
        for number, done in enumerate(self.tasks):
            if done.outcome == "local_hit":
                self.tasks[number] = done._replace(duration_ms=_CLOCK_SET_BACK_MS)
                return True
        return False


@dataclass(slots=True)
class CachedArtifact:
    """An artifact in the shared cache, and the run that made it."""

    run: Run
    task: TaskResult
    used_ms: int


LocalCache = dict[str, TaskResult]
"""The cache on a machine's own disk: what was made or downloaded there, by hash."""


class SharedCache:
    """Runs tasks against what it keeps. In `kept` the least recently used stand first."""

    def __init__(self, repo: Repo, random: Random) -> None:
        self._repo = repo
        self._random = random
        self._bytes = 0
        self.kept: dict[str, CachedArtifact] = {}

    def run(
        self,
        sender: Sender,
        at_ms: int,
        tasks: Iterable[Task],
        tree: Tree,
        commit: int,
        *,
        stamped: float,
        known: LocalCache | None = None,
    ) -> Run:
        """What came of a run. CI knows nothing of its own; it has the commit in the hashes of
        tasks that are stamped until after `stamped`, and in all hashes what is new in each run
        when that is below zero."""
        run = Run(
            session_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            sender=sender,
            started_ms=at_ms,
            ended_ms=at_ms,
            tasks=[],
            sha=hashlib.sha1(f"commit {commit}".encode(), usedforsecurity=False).hexdigest(),
            dirty_hash=None if known is None else hashlib.sha256(f"{tree}".encode()).hexdigest(),
        )
        moment = at_ms + self._random.randint(800, 4000)
        for task in tasks:
            stamp = run.session_id if stamped < 0 else run.sha if stamped < task.stamped else ""
            name = self._repo.hash_of(task, tree, stamp if sender.ci else "")
            done = self._do(task, name, moment, known or {})
            moment += (done.duration_ms if done.outcome == "miss" else _LOOK_UP_MS) // _WORKERS
            run.tasks.append(done._replace(at_ms=moment))
        run.ended_ms = moment + self._random.randint(100, 1500)
        for done in run.tasks:
            self._remember(run, done)
            if known is not None:
                known.setdefault(done.hash, done)
        return run

    def _do(self, task: Task, name: str, at_ms: int, known: LocalCache) -> TaskResult:
        mine, found = known.get(name), self.kept.get(name)
        if mine is not None and mine.at_ms <= at_ms:
            return mine._replace(outcome="local_hit", size_bytes=0)
        if found is not None and found.task.at_ms <= at_ms:
            return found.task._replace(outcome="remote_hit")
        return TaskResult(
            at_ms,
            name,
            "miss",
            int(task.takes_ms * self._random.uniform(0.85, 1.25)),
            int(task.size_bytes * self._random.uniform(0.95, 1.05)),
        )

    def _remember(self, run: Run, done: TaskResult) -> None:
        if done.outcome == "local_hit":
            return
        kept = self.kept.pop(done.hash, None)
        if done.outcome == "miss":
            self._bytes += done.size_bytes - (kept.task.size_bytes if kept else 0)
            kept = CachedArtifact(run, done, done.at_ms)
        if kept is not None:
            kept.used_ms = max(kept.used_ms, done.at_ms)
            self.kept[done.hash] = kept
        while self._bytes > CACHE_BYTES:
            self._bytes -= self.kept.pop(next(iter(self.kept))).task.size_bytes
