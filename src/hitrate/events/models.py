"""What the event store keeps and answers, whatever engine is behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from hitrate.clock import iso


class DuplicateBatch(NamedTuple):
    """Events of a team's batches that had come before; `received_at_ms` of the latest."""

    team_id: str
    received_at_ms: int
    events: int


class Totals(NamedTuple):
    """What a segment brought, and changed in all runs together. A miss may have become a hit."""

    events: int = 0
    runs: int = 0
    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    local_ms: int = 0
    remote_ms: int = 0


OnDropped = Callable[[str, int, int, str], None]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What loading a segment did: events kept, and those dropped."""

    events: int
    dropped: tuple[DuplicateBatch, ...] = ()
    totals: Totals = field(default=Totals(), compare=False)

    @property
    def duplicates(self) -> int:
        return sum(dropped.events for dropped in self.dropped)


class EventRecord(msgspec.Struct, rename="camel"):
    """One recorded event. `received_at` is ISO 8601 in UTC; `duration` in ms, as it was sent."""

    id: int
    received_at: str
    session_id: str
    source: str
    event: str
    hash: str
    duration: float | None
    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of a team; what is None does not filter. `before`: ids below this one."""

    team_id: str
    session_id: str | None = None
    hash: str | None = None
    since_ms: int | None = None
    before: int | None = None
    limit: int = 100


def rejected_folder(spool_folder: Path) -> Path:
    """Where batches that cannot be loaded are set aside, each with its reason beside it."""
    return spool_folder / "rejected"


def record(row: tuple[object, ...]) -> EventRecord:
    """An EventRecord from a row in the order of its fields, with the time in milliseconds."""
    event_id, at_ms, *rest = row
    return EventRecord(event_id, iso(at_ms), *rest)  # type: ignore[arg-type]  # reason: a row
