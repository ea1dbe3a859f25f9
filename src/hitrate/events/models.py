"""Values that the event store, the loader and their callers exchange."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from hitrate.clock import iso
from hitrate.events.spool import SpoolPosition


class DuplicateBatch(NamedTuple):
    """Events of one team in batches that were loaded before; `received_at_ms` of the latest."""

    team_id: str
    received_at_ms: int
    events: int


OnDuplicates = Callable[[DuplicateBatch, str], None]
"""Receives the duplicates of a team and the name of their segment."""


class RunTotalsDelta(NamedTuple):
    """How loading a segment changes the totals of all runs.

    Hits and times may fall, because a remote hit may become a local hit.
    """

    events: int = 0
    runs: int = 0
    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    local_ms: int = 0
    remote_ms: int = 0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The number of events that a segment added, and its duplicates by team."""

    events: int
    duplicates: tuple[DuplicateBatch, ...] = ()
    totals: RunTotalsDelta = field(default=RunTotalsDelta(), compare=False)

    @property
    def duplicate_events(self) -> int:
        """The number of events in duplicate batches."""
        return sum(batch.events for batch in self.duplicates)


class SpooledBatch(NamedTuple):
    """A batch that is durable in the spool but not loaded yet. `events` is their number."""

    team_id: str
    received_at_ms: int
    events: int
    position: SpoolPosition


class LoadObserver:
    """Base class for what follows the loader. A subclass overrides the methods that it needs.

    `recover` is called once before the loading thread starts, the others by that thread.
    """

    def recover(self, batches_after: Callable[[SpoolPosition], Iterator[SpooledBatch]]) -> None:
        """Process batches that a crash of the previous process left unprocessed.

        `batches_after` iterates over the batches in the spool after a position.
        """

    def is_ready(self, _position: SpoolPosition) -> bool:
        """Return whether the segment that ends at this position may be loaded and removed."""
        return True

    def on_duplicates(self, _batch: DuplicateBatch, _segment: str) -> None:
        """Receive the duplicates of one team in a segment, before the segment is committed.

        A crash before the commit repeats the call, so the same segment must count once.
        """

    def on_loaded(self) -> bool:
        """React to newly loaded events or uploads. Return False to be called again later."""
        return True


class EventRecord(msgspec.Struct, rename="camel"):
    """One recorded event. `received_at` is ISO 8601 in UTC; `duration` is in ms, as sent."""

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
    """Selects events of a team. A field that is None does not filter. `before` is an id."""

    team_id: str
    session_id: str | None = None
    hash: str | None = None
    since_ms: int | None = None
    before: int | None = None
    limit: int = 100


def event_record(row: tuple[object, ...]) -> EventRecord:
    """Create an EventRecord from a row with its columns, `received_at` in ms."""
    event_id, received_at_ms, *rest = row
    return EventRecord(event_id, iso(received_at_ms), *rest)  # type: ignore[arg-type]  # reason: a row
