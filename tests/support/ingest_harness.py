"""An event store into which tests load batches directly, without a spool."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hitrate.errors import DatabaseError
from hitrate.events import wire
from hitrate.events.models import LoadResult
from hitrate.events.store import DuckDBEventStore
from hitrate.events.wire import CacheEvent
from tests.support.event_kinds import EventKind

START_MS = 1_800_000_000_000
HASH = "0123456789abcdef"


class RunRow(NamedTuple):
    """A row of `runs`. `started` and `ended` are milliseconds after START_MS."""

    token: str
    ci: str | None
    started: int
    ended: int
    tasks: int
    local_hits: int
    remote_hits: int
    local_ms: int
    remote_ms: int
    events: int
    repeats: int
    anomalies: int
    resent: int


class FakeArtifactDurations:
    """Durations of stored artifacts, by hash. Records the hashes that were looked up."""

    def __init__(self) -> None:
        self.durations: dict[str, float] = {}
        self.lookups: list[set[str]] = []
        self.unavailable = False

    def __call__(self, team_id: str, hashes: Sequence[str]) -> Mapping[str, float]:
        if self.unavailable:
            raise DatabaseError(f"The database of {team_id} is unavailable.")
        self.lookups.append(set(hashes))
        return {name: self.durations[name] for name in hashes if name in self.durations}


class IngestHarness:
    """An open event store in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.artifacts = FakeArtifactDurations()
        self.store = DuckDBEventStore(directory, 2**26, self.artifacts)
        self.store.open()
        self._batches = self._segments = 0

    def batch(self, *events: CacheEvent, at: int = 0, **sender: Any) -> wire.Batch:
        """Create a batch with a digest of its own, received `at` milliseconds after START_MS."""
        self._batches += 1
        default = {
            "team": "team_a", "token": "tok_a", "ci": None, "interactive": None, "agent": None,
        }  # fmt: skip
        digest = f"{self._batches}"
        return wire.Batch(
            **{**default, **sender}, received_at=START_MS + at, digest=digest, events=list(events)
        )

    def load(self, *batches: wire.Batch) -> LoadResult:
        """Load batches as one segment."""
        self._segments += 1
        segment = self.directory / "segment.ndjson"
        segment.write_bytes(b"".join(map(wire.encode_batch, batches)))
        return self.store.load(segment, f"{self._segments}")

    def run(self, session: str = "s", team: str = "team_a") -> RunRow:
        """Return the only run of a session."""
        query = f"""
            SELECT token_id, ci, started_at - {START_MS}, ended_at - {START_MS}, tasks, local_hits,
                   remote_hits, local_ms, remote_ms, events, repeats, anomalies, resent
            FROM runs r JOIN senders s ON s.id = r.sender WHERE r.team_id = ? AND session_id = ?
        """
        with self.store.cursor() as cursor:
            [row] = cursor.execute(query, [team, session]).fetchall()
        return RunRow(*row)


def task(
    *kinds: EventKind, name: str = HASH, session: str = "s", ms: float = 0.0
) -> Iterator[CacheEvent]:
    """Create the events of one task, each with the duration `ms`."""
    return (CacheEvent(session, source, kind, name, ms) for source, kind in kinds)
