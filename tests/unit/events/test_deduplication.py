"""Batches that come again: the same bytes from the same token within ten minutes count once."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.events import wire
from hitrate.events.models import DuplicateBatch, EventFilter, LoadResult
from hitrate.events.store import RESEND_WINDOW_MS, DuckDBEventStore

START = 1_800_000_000_000
MINUTE_MS = 60_000


def copy(
    minute: float, session: str = "s", team: str = "team_a", ci: str | None = None
) -> wire.Batch:
    """One batch of a session, always the same, that came in that minute."""
    events = [wire.CacheEvent(session, "LOCAL", "HIT", name, 5.0) for name in ("h1", "h2")]
    at_ms = START + round(minute * MINUTE_MS)
    return wire.Batch(team, "tok_a", at_ms, ci, None, None, f"digest of {session}", events)


class Counter:
    """A store, and how many events of each session it has recorded and has seen again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = DuckDBEventStore(folder, 1_000_000)
        self.store.open()
        self._segments = 0

    def load(self, *batches: wire.Batch) -> LoadResult:
        self._segments += 1
        segment = self.folder / "segment.ndjson"
        segment.write_bytes(b"".join(map(wire.encode_batch, batches)))
        return self.store.load(segment, f"{self._segments}")

    def runs(self) -> dict[str, tuple[int, int]]:
        with self.store.cursor() as cursor:
            rows = cursor.execute("SELECT session_id, events, resent FROM runs").fetchall()
        return {session: (events, resent) for session, events, resent in rows}

    def span(self) -> tuple[float, float, str | None]:
        """The minutes of the only run's begin and end, and what CI it said that it is."""
        query = "SELECT started_at, ended_at, ci FROM runs JOIN senders ON senders.id = sender"
        with self.store.cursor() as cursor:
            [(started_at, ended_at, ci)] = cursor.execute(query).fetchall()
        return (started_at - START) / MINUTE_MS, (ended_at - START) / MINUTE_MS, ci


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    counter = Counter(tmp_path)
    yield counter
    counter.store.close()


def test_ten_minutes_are_counted_from_the_last_that_was_recorded(counter: Counter) -> None:
    counter.load(copy(0))
    counter.load(copy(5), copy(11))  # not from the one that was dropped at five
    assert counter.runs() == {"s": (4, 2)}
    counter.load(copy(20.9))
    assert counter.runs() == {"s": (4, 4)}


def test_a_segment_of_hours_is_no_different(counter: Counter) -> None:
    loaded = counter.load(copy(0), copy(11), copy(12), copy(20), copy(22))
    assert loaded == LoadResult(6, (DuplicateBatch("team_a", START + 20 * MINUTE_MS, 4),))


def test_one_that_came_before_but_is_loaded_late_counts_once(counter: Counter) -> None:
    counter.load(copy(9))
    counter.load(copy(0))
    assert counter.runs() == {"s": (2, 2)}


def test_one_that_came_long_before_and_is_loaded_late_is_another(counter: Counter) -> None:
    counter.load(copy(60))
    counter.load(copy(0))
    assert counter.runs() == {"s": (4, 0)}


def test_a_run_begins_with_its_first_batch_even_if_a_later_one_was_recorded(
    counter: Counter,
) -> None:
    counter.load(copy(9, ci="later"))
    counter.load(copy(0, ci="first"))
    assert counter.span() == (0, 9, "first")


def test_a_run_that_sends_again_has_not_ended(counter: Counter) -> None:
    counter.load(copy(0, ci="first"))
    counter.load(copy(9, ci="later"))
    assert counter.span() == (0, 9, "first")


def test_events_that_came_again_are_noted_of_their_own_runs(counter: Counter) -> None:
    events = [wire.CacheEvent(s, "LOCAL", "HIT", "h", 5.0) for s in ("one", "two", "one")]
    mixed = wire.Batch("team_a", "tok_a", START, None, None, None, "mixed", events)
    alone = copy(0, session="three")
    counter.load(mixed, alone)
    counter.load(mixed, mixed)
    assert counter.runs() == {"one": (2, 4), "two": (1, 2), "three": (2, 0)}


def test_the_same_bytes_of_another_team_are_no_copy(counter: Counter) -> None:
    counter.load(copy(0), copy(1, team="team_b"), copy(2, team="team_b"))
    for team_id in ("team_a", "team_b"):
        assert len(counter.store.events(EventFilter(team_id))) == 2


PAUSES_MS = (30_000, 180_000, 300_000, 599_999, 600_000, 600_001)


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(PAUSES_MS), min_size=2, max_size=12),
    st.sets(st.integers(1, 11), max_size=3),
)
def test_however_segments_are_cut_the_same_are_recorded(
    pauses_ms: list[int], cuts: set[int]
) -> None:
    moments = list(itertools.accumulate(pauses_ms, initial=START))
    recorded = moments[:1]
    for at_ms in moments[1:]:
        if at_ms - recorded[-1] >= RESEND_WINDOW_MS:
            recorded.append(at_ms)
    ends = [0, *sorted(cuts), len(moments)]
    with TemporaryDirectory() as folder:
        counter = Counter(Path(folder))
        for start, end in itertools.pairwise(ends):
            counter.load(*(copy((at_ms - START) / MINUTE_MS) for at_ms in moments[start:end]))
        with counter.store.cursor() as cursor:
            query = "SELECT DISTINCT received_at FROM events ORDER BY received_at"
            found = cursor.execute(query).fetchall()
        counter.store.close()
    assert [at_ms for (at_ms,) in found] == recorded
