"""What events come to, written to be read: slow, plain and apart from the program's own.

Task: what a run (a session of a team) wanted of one hash. A local hit if it has a LOCAL HIT, else
a remote hit if it has a REMOTE HIT, else a miss.
Time saved by a hit: the longest duration that its events of that kind tell, in whole milliseconds,
from nothing to 24 hours. A REMOTE HIT that tells none, or 0, tells the stored artifact's.
Anomaly: an event whose duration is negative or above 24 hours.
Duplicates: events of a task beyond one of each kind, and those of batches that came again, byte
for byte and with the same token, within ten minutes of one that was recorded. The latter are not.
Run: begins with its first batch, whose sender is the run's, and ends with its last, recorded or
come again.
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
RESENT_WITHIN_MS = 10 * 60 * 1000

Kind = tuple[str, str]
LOCAL_HIT: Kind = ("LOCAL", "HIT")
REMOTE_HIT: Kind = ("REMOTE", "HIT")

ArtifactDurations = Mapping[tuple[str, str], float]
"""Team and hash -> how long the stored artifact took to make."""

GroupKey = TypeVar("GroupKey")


class Sender(NamedTuple):
    """Whose a run is."""

    ci: str | None
    interactive: bool | None
    agent: str | None
    token: str


@dataclass
class Task:
    """Events of one hash in one run: how many there were of each kind, and what they tell."""

    counts: dict[Kind, int] = field(default_factory=dict)
    told_ms: dict[Kind, int] = field(default_factory=dict)
    anomalies: int = 0
    last_at: int = 0

    def add(self, kind: Kind, duration: float, at: int) -> None:
        """One more event."""
        told_ms = math.floor(min(max(duration, 0.0), DAY_MS) + 0.5)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.told_ms[kind] = max(self.told_ms.get(kind, 0), told_ms)
        self.last_at = max(self.last_at, at)
        if duration < 0 or duration > DAY_MS:
            self.anomalies += 1

    @property
    def outcome(self) -> str:
        """local_hit, remote_hit or miss."""
        if LOCAL_HIT in self.counts:
            return "local_hit"
        return "remote_hit" if REMOTE_HIT in self.counts else "miss"

    @property
    def saved_ms(self) -> int:
        """What the kind of event that decides the outcome tells."""
        deciding = {"local_hit": LOCAL_HIT, "remote_hit": REMOTE_HIT}.get(self.outcome)
        return self.told_ms[deciding] if deciding else 0

    @property
    def events(self) -> int:
        """All that there were."""
        return sum(self.counts.values())

    @property
    def repeats(self) -> int:
        """Those beyond one of each kind."""
        return self.events - len(self.counts)


@dataclass
class Run:
    """What one session of a team sent."""

    team: str
    session: str
    started_at: int
    ended_at: int
    sender: Sender
    tasks: dict[str, Task] = field(default_factory=dict)
    resent: int = 0

    @cached_property
    def sums(self) -> "Sums":
        """What its tasks come to. Not to be asked for before all events have been added."""
        tasks = list(self.tasks.values())
        local = [task.saved_ms for task in tasks if task.outcome == "local_hit"]
        remote = [task.saved_ms for task in tasks if task.outcome == "remote_hit"]
        return Sums(
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
        """Tasks that hit, of all."""
        return (self.sums.local_hits + self.sums.remote_hits) / self.sums.tasks


class Sums(NamedTuple):
    """What tasks come to."""

    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    local_ms: int = 0
    remote_ms: int = 0
    events: int = 0
    duplicates: int = 0
    anomalies: int = 0


Runs = dict[tuple[str, str], Run]
"""By team and session."""


class Totals(NamedTuple):
    """What some runs came to."""

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
    """Batches that are recorded, and those that came again; both in the order of time."""
    recorded: list[Batch] = []
    again: list[Batch] = []
    recorded_at: dict[tuple[str, str, str], int] = {}
    for batch in sorted(batches, key=lambda batch: batch.received_at):
        same = (batch.team, batch.token, batch.digest)
        if same in recorded_at and batch.received_at - recorded_at[same] < RESENT_WITHIN_MS:
            again.append(batch)
        else:
            recorded_at[same] = batch.received_at
            recorded.append(batch)
    return recorded, again


def runs_of(batches: Iterable[Batch], artifact_durations: ArtifactDurations | None = None) -> Runs:
    """All runs. Of batches that came at the same moment the first is the one named first."""
    recorded, again = split_duplicates(batches)
    runs = runs_of_recorded(recorded, artifact_durations)
    for batch in again:
        for event in batch.events:
            run = runs[batch.team, event.session_id]
            run.resent += 1
            run.ended_at = max(run.ended_at, batch.received_at)
    return runs


def runs_of_recorded(
    recorded: Iterable[Batch], artifact_durations: ArtifactDurations | None = None
) -> Runs:
    """The runs of batches that are in order and of which none came again."""
    artifact_durations = artifact_durations or {}
    runs: Runs = {}
    for batch in recorded:
        for event in batch.events:
            key = (batch.team, event.session_id)
            run = runs.get(key)
            if run is None:
                sender = Sender(batch.ci, batch.interactive, batch.agent, batch.token)
                run = runs[key] = Run(*key, batch.received_at, batch.received_at, sender)
            run.ended_at = batch.received_at
            task = run.tasks.get(event.hash)
            if task is None:
                task = run.tasks[event.hash] = Task()
            duration = _duration(event, artifact_durations.get((batch.team, event.hash)))
            task.add((event.source, event.event), duration, batch.received_at)
    return runs


def _duration(event: CacheEvent, artifact_ms: float | None) -> float:
    told = event.duration if isinstance(event.duration, int | float) else 0.0
    if told == 0 and (event.source, event.event) == REMOTE_HIT and artifact_ms is not None:
        return artifact_ms
    return told


def totals_of(runs: Iterable[Run]) -> Totals:
    """The sums of some runs."""
    runs = list(runs)
    sums = Sums(*map(sum, zip(Sums(), *(run.sums for run in runs), strict=True)))
    hits = sums.local_hits + sums.remote_hits
    return Totals(
        runs=len(runs),
        misses=sums.tasks - hits,
        hit_rate=hits / sums.tasks if sums.tasks else None,
        **sums._asdict(),
    )


def quartiles(runs: Sequence[Run]) -> tuple[float, float, float] | None:
    """The quartiles of the runs' hit rates, between two of them in proportion."""
    rates = [run.hit_rate for run in runs]
    if not rates:
        return None
    low, middle, high = quantiles(rates * 2 if len(rates) == 1 else rates, method="inclusive")
    return low, middle, high


def runs_started_in(runs: Runs, team: str, from_ms: int, to_ms: int) -> list[Run]:
    """A team's runs of a period."""
    return [run for run in runs.values() if run.team == team and from_ms <= run.started_at < to_ms]


def grouped(runs: Iterable[Run], key: Callable[[Run], GroupKey]) -> dict[GroupKey, list[Run]]:
    """The runs that have something in common."""
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
    """Hash -> session -> the task, as the events that a team sent in a period tell it."""
    recorded, _ = split_duplicates(batches)
    within = [batch for batch in recorded if from_ms <= batch.received_at < to_ms]
    found: dict[str, dict[str, Task]] = defaultdict(dict)
    for run in runs_of_recorded(within, artifact_durations).values():
        if run.team == team:
            for name, task in run.tasks.items():
                found[name][run.session] = task
    return dict(found)
