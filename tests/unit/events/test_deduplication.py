"""Deduplication: the same bytes from the same token within ten minutes count once."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.events import wire
from hitrate.events.deduplication import RESEND_WINDOW_MS
from hitrate.events.models import DuplicateBatch, EventFilter, LoadResult
from hitrate.events.store import DuckDBEventStore

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000


def copy_at(
    minute: float, session: str = "s", team: str = "team_a", ci: str | None = None
) -> wire.Batch:
    """Create the same batch of a session, received at a minute after START_MS."""
    events = [wire.CacheEvent(session, "LOCAL", "HIT", name, 5.0) for name in ("h1", "h2")]
    at_ms = START_MS + round(minute * MINUTE_MS)
    return wire.Batch(team, "tok_a", at_ms, ci, None, None, f"digest of {session}", events)


class DeduplicationHarness:
    """An event store, and the counts of events in its runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = DuckDBEventStore(directory, 1_000_000)
        self.store.open()
        self._segments = 0

    def load(self, *batches: wire.Batch) -> LoadResult:
        self._segments += 1
        segment = self.directory / "segment.ndjson"
        segment.write_bytes(b"".join(map(wire.encode_batch, batches)))
        return self.store.load(segment, f"{self._segments}")

    def runs(self) -> dict[str, tuple[int, int]]:
        with self.store.cursor() as cursor:
            rows = cursor.execute("SELECT session_id, events, resent FROM runs").fetchall()
        return {session: (events, resent) for session, events, resent in rows}

    def span(self) -> tuple[float, float, str | None]:
        """Return start and end of the only run, in minutes after START_MS, and its CI."""
        query = "SELECT started_at, ended_at, ci FROM runs JOIN senders ON senders.id = sender"
        with self.store.cursor() as cursor:
            [(started_at, ended_at, ci)] = cursor.execute(query).fetchall()
        return (started_at - START_MS) / MINUTE_MS, (ended_at - START_MS) / MINUTE_MS, ci


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[DeduplicationHarness]:
    harness = DeduplicationHarness(tmp_path)
    yield harness
    harness.store.close()


def test_resend_window_starts_at_the_last_counted_batch(harness: DeduplicationHarness) -> None:
    harness.load(copy_at(0))
    harness.load(copy_at(5), copy_at(11))  # the duplicate at minute 5 does not extend it
    assert harness.runs() == {"s": (4, 2)}
    harness.load(copy_at(20.9))
    assert harness.runs() == {"s": (4, 4)}


def test_resend_window_applies_within_a_segment(harness: DeduplicationHarness) -> None:
    loaded = harness.load(copy_at(0), copy_at(11), copy_at(12), copy_at(20), copy_at(22))
    assert loaded == LoadResult(6, (DuplicateBatch("team_a", START_MS + 20 * MINUTE_MS, 4),))


def test_earlier_copy_within_the_window_is_a_duplicate_when_loaded_later(
    harness: DeduplicationHarness,
) -> None:
    harness.load(copy_at(9))
    harness.load(copy_at(0))
    assert harness.runs() == {"s": (2, 2)}


def test_earlier_copy_outside_the_window_is_counted_when_loaded_later(
    harness: DeduplicationHarness,
) -> None:
    harness.load(copy_at(60))
    harness.load(copy_at(0))
    assert harness.runs() == {"s": (4, 0)}


def test_run_starts_with_an_earlier_duplicate(
    harness: DeduplicationHarness,
) -> None:
    harness.load(copy_at(9, ci="later"))
    harness.load(copy_at(0, ci="first"))
    assert harness.span() == (0, 9, "first")


def test_run_ends_with_a_later_duplicate(harness: DeduplicationHarness) -> None:
    harness.load(copy_at(0, ci="first"))
    harness.load(copy_at(9, ci="later"))
    assert harness.span() == (0, 9, "first")


def test_duplicate_events_are_counted_in_their_own_runs(harness: DeduplicationHarness) -> None:
    events = [wire.CacheEvent(s, "LOCAL", "HIT", "h", 5.0) for s in ("one", "two", "one")]
    mixed = wire.Batch("team_a", "tok_a", START_MS, None, None, None, "mixed", events)
    alone = copy_at(0, session="three")
    harness.load(mixed, alone)
    harness.load(mixed, mixed)
    assert harness.runs() == {"one": (2, 4), "two": (1, 2), "three": (2, 0)}


def test_same_bytes_of_another_team_are_not_a_duplicate(harness: DeduplicationHarness) -> None:
    harness.load(copy_at(0), copy_at(1, team="team_b"), copy_at(2, team="team_b"))
    for team_id in ("team_a", "team_b"):
        assert len(harness.store.events(EventFilter(team_id))) == 2


PAUSES_MS = (30_000, 180_000, 300_000, 599_999, 600_000, 600_001)


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(PAUSES_MS), min_size=2, max_size=12),
    st.sets(st.integers(1, 11), max_size=3),
)
def test_counted_batches_do_not_depend_on_the_split_into_segments(
    pauses_ms: list[int], cuts: set[int]
) -> None:
    times_ms = list(itertools.accumulate(pauses_ms, initial=START_MS))
    recorded = times_ms[:1]
    for at_ms in times_ms[1:]:
        if at_ms - recorded[-1] >= RESEND_WINDOW_MS:
            recorded.append(at_ms)
    ends = [0, *sorted(cuts), len(times_ms)]
    with TemporaryDirectory() as directory:
        harness = DeduplicationHarness(Path(directory))
        for start, end in itertools.pairwise(ends):
            harness.load(
                *(copy_at((at_ms - START_MS) / MINUTE_MS) for at_ms in times_ms[start:end])
            )
        with harness.store.cursor() as cursor:
            query = "SELECT DISTINCT received_at FROM events ORDER BY received_at"
            rows = cursor.execute(query).fetchall()
        harness.store.close()
    assert [at_ms for (at_ms,) in rows] == recorded
