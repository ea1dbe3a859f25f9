"""Simulated local and remote caches, which decide the outcomes of simulated runs.

Outcomes are not random: tasks are looked up in caches that hold the artifacts of earlier runs. So
each hit has a run that produced its artifact, and the hit rate follows from what changes between
runs. Pure: all randomness comes from a `Random` argument.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from hitrate.demo.monorepo import Monorepo, Task, Tree

CACHE_BYTES = 45_000_000
"""Capacity of the remote cache; the least recently used artifacts are evicted."""

_WORKERS = 4
_LOOKUP_MS = 300
_NEGATIVE_DURATION_MS = -3_600_000


class Sender(NamedTuple):
    """Client that runs tasks: the label of its token, and what it reports about itself."""

    token: str
    ci: str | None
    interactive: bool
    agent: str | None


class TaskResult(NamedTuple):
    """Result of a task that finished at `at_ms`.

    `size_bytes`: size of its artifact in the remote cache, 0 for a local hit.
    """

    at_ms: int
    hash: str
    outcome: str
    duration_ms: int
    size_bytes: int


@dataclass(slots=True)
class Run:
    """A run of turbo. `dirty_hash` is None if the working tree had no uncommitted changes."""

    session_id: str
    sender: Sender
    started_ms: int
    ended_ms: int
    tasks: list[TaskResult]
    sha: str
    dirty_hash: str | None

    def add_anomaly(self) -> bool:
        """Give the first local hit a negative duration. Return False if there is none."""
        for index, result in enumerate(self.tasks):
            if result.outcome == "local_hit":
                self.tasks[index] = result._replace(duration_ms=_NEGATIVE_DURATION_MS)
                return True
        return False


@dataclass(slots=True)
class CachedArtifact:
    """Artifact in the remote cache, and the run that produced it."""

    run: Run
    task: TaskResult
    used_ms: int


LocalCache = dict[str, TaskResult]
"""Cache on the disk of one machine, by hash."""


class SharedCache:
    """Remote cache of all clients. `artifacts` are ordered by last use, the oldest first."""

    def __init__(self, repo: Monorepo, random: Random) -> None:
        self._repo = repo
        self._random = random
        self._size_bytes = 0
        self.artifacts: dict[str, CachedArtifact] = {}

    def run(
        self,
        sender: Sender,
        at_ms: int,
        tasks: Iterable[Task],
        tree: Tree,
        commit: int,
        *,
        progress: float,
        unique_hashes: bool = False,
        local_cache: LocalCache | None = None,
    ) -> Run:
        """Run tasks and return the run. CI has no local cache.

        `progress`: fraction (0 to 1) of the simulated period that has passed. `unique_hashes`: a
        mistake in CI makes all hashes differ from run to run.
        """
        run = Run(
            session_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            sender=sender,
            started_ms=at_ms,
            ended_ms=at_ms,
            tasks=[],
            sha=hashlib.sha1(f"commit {commit}".encode(), usedforsecurity=False).hexdigest(),
            dirty_hash=(
                None if local_cache is None else hashlib.sha256(f"{tree}".encode()).hexdigest()
            ),
        )
        time_ms = at_ms + self._random.randint(800, 4000)
        for task in tasks:
            salt = ""
            if sender.ci and unique_hashes:
                salt = run.session_id
            elif sender.ci and progress < task.commit_in_hash_until:
                salt = run.sha
            task_hash = self._repo.hash_of(task, tree, salt)
            result = self._run_task(task, task_hash, time_ms, local_cache or {})
            time_ms += (result.duration_ms if result.outcome == "miss" else _LOOKUP_MS) // _WORKERS
            run.tasks.append(result._replace(at_ms=time_ms))
        run.ended_ms = time_ms + self._random.randint(100, 1500)
        for result in run.tasks:
            self._store(run, result)
            if local_cache is not None:
                local_cache.setdefault(result.hash, result)
        return run

    def _run_task(
        self, task: Task, task_hash: str, at_ms: int, local_cache: LocalCache
    ) -> TaskResult:
        local, remote = local_cache.get(task_hash), self.artifacts.get(task_hash)
        if local is not None and local.at_ms <= at_ms:
            return local._replace(outcome="local_hit", size_bytes=0)
        if remote is not None and remote.task.at_ms <= at_ms:
            return remote.task._replace(outcome="remote_hit")
        return TaskResult(
            at_ms,
            task_hash,
            "miss",
            int(task.duration_ms * self._random.uniform(0.85, 1.25)),
            int(task.size_bytes * self._random.uniform(0.95, 1.05)),
        )

    def _store(self, run: Run, result: TaskResult) -> None:
        """Store the artifact of a miss, or mark that of a remote hit as used; then evict."""
        if result.outcome == "local_hit":
            return
        artifact = self.artifacts.pop(result.hash, None)
        if result.outcome == "miss":
            self._size_bytes += result.size_bytes - (artifact.task.size_bytes if artifact else 0)
            artifact = CachedArtifact(run, result, result.at_ms)
        if artifact is not None:
            artifact.used_ms = max(artifact.used_ms, result.at_ms)
            self.artifacts[result.hash] = artifact
        while self._size_bytes > CACHE_BYTES:
            oldest = self.artifacts.pop(next(iter(self.artifacts)))
            self._size_bytes -= oldest.task.size_bytes
