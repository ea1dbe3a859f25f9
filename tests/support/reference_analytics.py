"""Reference implementation of the analytics rules: slow, plain, and independent of the program.

Task: a pair of run (a session of a team) and hash. A local hit if it has a LOCAL HIT event, else a
remote hit if it has a REMOTE HIT event, else a miss.
Time saved by a hit: the longest duration of its events of that kind, in whole milliseconds,
clamped to 0 and 24 hours. A REMOTE HIT without a duration, or with 0, has that of the artifact.
Anomaly: an event with a duration below zero or above 24 hours.
Duplicates: events of a task beyond one of each kind, and events of re-sent batches. A batch is
re-sent if it equals a recorded one byte for byte, has the same token, and arrives within ten
minutes of it. Its events are not recorded.
Run: starts with its first batch, which determines its client, and ends with its last one, recorded
or re-sent.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import quantiles
from typing import NamedTuple, TypeVar

from hitrate.events.wire import Batch, CacheEvent

DAY_MS = 24 * 3600 * 1000
RESEND_WINDOW_MS = 10 * 60 * 1000

Kind = tuple[str, str]
LOCAL_HIT: Kind = ("LOCAL", "HIT")
REMOTE_HIT: Kind = ("REMOTE", "HIT")

ArtifactDurations = Mapping[tuple[str, str], float]
"""Duration of each stored artifact in ms, by team and hash."""

GroupKey = TypeVar("GroupKey")


class ReferenceClient(NamedTuple):
    """The client and token of a run."""

    ci: str | None
    interactive: bool | None
    agent: str | None
    token: str


@dataclass
class Task:
    """Events of one hash in one run: their number and longest duration by kind."""

    counts: dict[Kind, int] = field(default_factory=dict)
    longest_ms: dict[Kind, int] = field(default_factory=dict)
    anomalies: int = 0
    last_at: int = 0

    def add(self, kind: Kind, duration: float, at: int) -> None:
        """Add an event."""
        clamped_ms = math.floor(min(max(duration, 0.0), DAY_MS) + 0.5)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.longest_ms[kind] = max(self.longest_ms.get(kind, 0), clamped_ms)
        self.last_at = max(self.last_at, at)
        if duration < 0 or duration > DAY_MS:
            self.anomalies += 1

    @property
    def outcome(self) -> str:
        """The outcome: local_hit, remote_hit or miss."""
        if LOCAL_HIT in self.counts:
            return "local_hit"
        return "remote_hit" if REMOTE_HIT in self.counts else "miss"

    @property
    def saved_ms(self) -> int:
        """The longest duration of the events that decide the outcome, or 0 for a miss."""
        deciding = {"local_hit": LOCAL_HIT, "remote_hit": REMOTE_HIT}.get(self.outcome)
        return self.longest_ms[deciding] if deciding else 0

    @property
    def events(self) -> int:
        """The number of events."""
        return sum(self.counts.values())

    @property
    def repeats(self) -> int:
        """The number of events beyond one of each kind."""
        return self.events - len(self.counts)


@dataclass
class Run:
    """The tasks of one session of a team."""

    team: str
    session: str
    started_at: int
    ended_at: int
    sender: ReferenceClient
    tasks: dict[str, Task] = field(default_factory=dict)
    resent: int = 0

    @cached_property
    def totals(self) -> "TaskTotals":
        """Totals of the tasks. Cached, so read it only after all events have been added."""
        tasks = list(self.tasks.values())
        local = [task.saved_ms for task in tasks if task.outcome == "local_hit"]
        remote = [task.saved_ms for task in tasks if task.outcome == "remote_hit"]
        return TaskTotals(
            tasks=len(tasks),
            local_hits=len(local),
            remote_hits=len(remote),
            local_ms=sum(local),
            remote_ms=sum(remote),
            events=sum(task.events for task in tasks),
            duplicates=sum(task.repeats for task in tasks) + self.resent,
            anomalies=sum(task.anomalies for task in tasks),
        )

    @property
    def hit_rate(self) -> float:
        """Hits divided by tasks."""
        return (self.totals.local_hits + self.totals.remote_hits) / self.totals.tasks


class TaskTotals(NamedTuple):
    """Totals of tasks."""

    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    local_ms: int = 0
    remote_ms: int = 0
    events: int = 0
    duplicates: int = 0
    anomalies: int = 0


Runs = dict[tuple[str, str], Run]
"""Runs by team and session."""


class ReferenceTotals(NamedTuple):
    """Totals of several runs."""

    runs: int
    tasks: int
    local_hits: int
    remote_hits: int
    misses: int
    hit_rate: float | None
    local_ms: int
    remote_ms: int
    events: int
    duplicates: int
    anomalies: int


def split_duplicates(batches: Iterable[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Return the batches that are recorded, and the re-sent ones, each in order of time."""
    recorded: list[Batch] = []
    resent: list[Batch] = []
    recorded_at: dict[tuple[str, str, str], int] = {}
    for batch in sorted(batches, key=lambda batch: batch.received_at):
        identity = (batch.team, batch.token, batch.digest)
        last_at = recorded_at.get(identity)
        if last_at is not None and batch.received_at - last_at < RESEND_WINDOW_MS:
            resent.append(batch)
        else:
            recorded_at[identity] = batch.received_at
            recorded.append(batch)
    return recorded, resent


def runs_of(batches: Iterable[Batch], artifact_durations: ArtifactDurations | None = None) -> Runs:
    """Return all runs. Batches with the same time keep their order."""
    recorded, resent = split_duplicates(batches)
    runs = runs_of_recorded(recorded, artifact_durations)
    for batch in resent:
        for event in batch.events:
            run = runs[batch.team, event.session_id]
            run.resent += 1
            run.ended_at = max(run.ended_at, batch.received_at)
    return runs


def runs_of_recorded(
    recorded: Iterable[Batch], artifact_durations: ArtifactDurations | None = None
) -> Runs:
    """Return the runs of batches that are in order of time and have no duplicates."""
    artifact_durations = artifact_durations or {}
    runs: Runs = {}
    for batch in recorded:
        for event in batch.events:
            key = (batch.team, event.session_id)
            run = runs.get(key)
            if run is None:
                sender = ReferenceClient(batch.ci, batch.interactive, batch.agent, batch.token)
                run = runs[key] = Run(*key, batch.received_at, batch.received_at, sender)
            run.ended_at = batch.received_at
            task = run.tasks.get(event.hash)
            if task is None:
                task = run.tasks[event.hash] = Task()
            duration = _duration(event, artifact_durations.get((batch.team, event.hash)))
            task.add((event.source, event.event), duration, batch.received_at)
    return runs


def _duration(event: CacheEvent, artifact_ms: float | None) -> float:
    duration = event.duration if isinstance(event.duration, int | float) else 0.0
    if duration == 0 and (event.source, event.event) == REMOTE_HIT and artifact_ms is not None:
        return artifact_ms
    return duration


def totals_of(runs: Iterable[Run]) -> ReferenceTotals:
    """Return the totals of several runs."""
    runs = list(runs)
    totals = TaskTotals(*map(sum, zip(TaskTotals(), *(run.totals for run in runs), strict=True)))
    hits = totals.local_hits + totals.remote_hits
    return ReferenceTotals(
        runs=len(runs),
        misses=totals.tasks - hits,
        hit_rate=hits / totals.tasks if totals.tasks else None,
        **totals._asdict(),
    )


def quartiles(runs: Sequence[Run]) -> tuple[float, float, float] | None:
    """Return the quartiles of the runs' hit rates, linearly interpolated."""
    rates = [run.hit_rate for run in runs]
    if not rates:
        return None
    low, middle, high = quantiles(rates * 2 if len(rates) == 1 else rates, method="inclusive")
    return low, middle, high


def runs_started_in(runs: Runs, team: str, from_ms: int, to_ms: int) -> list[Run]:
    """Return the runs of a team that started in a period."""
    return [run for run in runs.values() if run.team == team and from_ms <= run.started_at < to_ms]


def grouped(runs: Iterable[Run], key: Callable[[Run], GroupKey]) -> dict[GroupKey, list[Run]]:
    """Group runs by a key."""
    groups: dict[GroupKey, list[Run]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return dict(groups)


def tasks_by_hash(
    batches: Iterable[Batch],
    artifact_durations: ArtifactDurations,
    team: str,
    from_ms: int,
    to_ms: int,
) -> dict[str, dict[str, Task]]:
    """Return the tasks of a team by hash and session, from the events within a period."""
    recorded, _ = split_duplicates(batches)
    within = [batch for batch in recorded if from_ms <= batch.received_at < to_ms]
    tasks: dict[str, dict[str, Task]] = defaultdict(dict)
    for run in runs_of_recorded(within, artifact_durations).values():
        if run.team == team:
            for name, task in run.tasks.items():
                tasks[name][run.session] = task
    return dict(tasks)
