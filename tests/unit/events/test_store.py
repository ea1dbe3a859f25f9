"""The event store: exactly once, by segment and by batch; queries in order."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from hitrate.datadir import DataDir
from hitrate.errors import EventStoreUnavailable, InvalidSegment
from hitrate.events.models import DuplicateBatch, EventFilter, LoadResult
from hitrate.events.store import RESEND_WINDOW_MS, DuckDBEventStore
from tests.support.event_factory import event, line

START = 1_800_000_000_000
ALL = EventFilter("team_a", limit=1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBEventStore]:
    store = DuckDBEventStore(tmp_path, 1_000_000)
    store.open()
    yield store
    store.close()


def load(store: DuckDBEventStore, folder: Path, name: str, *lines: bytes) -> LoadResult:
    segment = folder / name
    segment.write_bytes(b"".join(lines))
    return store.load(segment, name)


def hashes(store: DuckDBEventStore, wanted: EventFilter = ALL) -> list[str]:
    return [record.hash for record in store.events(wanted)]


def test_an_event_comes_back_as_it_was_sent(store: DuckDBEventStore, tmp_path: Path) -> None:
    odd = event(
        sessionId='s\0"\\', source="REMOTE", event="MISS", hash="h\n😀\u2028", duration=-0.5
    )
    load(store, tmp_path, "one", line([odd], received_at=START + 7))
    [record] = store.events(ALL)
    assert (record.session_id, record.hash, record.duration) == ('s\0"\\', "h\n😀\u2028", -0.5)
    assert (record.source, record.event, record.token_id) == ("REMOTE", "MISS", "tok_a")
    assert record.received_at == "2027-01-15T08:00:00.007Z"


def test_a_segment_is_loaded_once_whatever_comes_again(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    assert load(store, tmp_path, "one", line(), line()) == LoadResult(2)
    assert load(store, tmp_path, "one", line(), line()) == LoadResult(0)
    store.close()
    store.open()
    assert load(store, tmp_path, "one", line()) == LoadResult(0)
    assert len(store.events(ALL)) == 2


def test_runs_that_come_in_one_segment_are_numbered_in_the_order_in_which_they_came(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    sessions = [str(UUID(int=number)) for number in range(16)]
    for name, some in (("one", sessions[:8]), ("two", sessions[8:])):
        load(store, tmp_path, name, *(line([event(sessionId=session)]) for session in some))
    with store.cursor() as cursor:
        rows = cursor.execute("SELECT session_id FROM runs ORDER BY id").fetchall()
    assert [session for (session,) in rows] == sessions


def test_a_batch_that_comes_again_within_ten_minutes_counts_once(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event(), event()]
    first, again = line(batch, received_at=START), line(batch, received_at=START + 1)
    late = line(batch, received_at=START + RESEND_WINDOW_MS - 1)
    assert load(store, tmp_path, "one", first, again) == LoadResult(
        2, (DuplicateBatch("team_a", START + 1, 2),)
    )
    store.close()
    store.open()
    latest = START + RESEND_WINDOW_MS - 1
    loaded = load(store, tmp_path, "two", late)
    assert loaded == LoadResult(0, (DuplicateBatch("team_a", latest, 2),))
    assert loaded.duplicate_events == 2


def test_what_was_dropped_is_told_for_each_team_at_its_latest_time(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event(), event()]
    lines = [
        line(batch, team=team, received_at=START + n)
        for team in ("team_a", "team_b")
        for n in range(3)
    ]
    loaded = load(store, tmp_path, "one", *lines, line([event()]))
    assert loaded.events == 5
    assert sorted(loaded.duplicates) == [
        DuplicateBatch("team_a", START + 2, 4),
        DuplicateBatch("team_b", START + 2, 4),
    ]
    assert loaded.duplicate_events == 8


def test_after_ten_minutes_it_counts_again(store: DuckDBEventStore, tmp_path: Path) -> None:
    batch = [event()]
    load(store, tmp_path, "one", line(batch, received_at=START))
    later = line(batch, received_at=START + RESEND_WINDOW_MS)
    assert load(store, tmp_path, "two", later) == LoadResult(1)


def test_the_same_batch_from_another_token_or_team_is_another(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event()]
    lines = (line(batch), line(batch, token="tok_b"), line(batch, team="team_b"))
    assert load(store, tmp_path, "one", *lines) == LoadResult(3)


def test_events_of_another_team_are_not_seen(store: DuckDBEventStore, tmp_path: Path) -> None:
    load(store, tmp_path, "one", line([event(hash="mine")]), line([event()], team="team_b"))
    assert hashes(store) == ["mine"]


def test_the_newest_come_first_and_pages_join(store: DuckDBEventStore, tmp_path: Path) -> None:
    batches = [line([event(hash=f"{n}a"), event(hash=f"{n}b")]) for n in range(10)]
    load(store, tmp_path, "one", *batches)
    everything = hashes(store)
    assert everything[:3] == ["9b", "9a", "8b"]
    paged: list[str] = []
    before = None
    while page := store.events(EventFilter("team_a", before=before, limit=3)):
        paged += [record.hash for record in page]
        before = page[-1].id
    assert paged == everything


def test_filters_narrow(store: DuckDBEventStore, tmp_path: Path) -> None:
    load(
        store,
        tmp_path,
        "one",
        line([event(sessionId="s1", hash="a")], received_at=START),
        line([event(sessionId="s2", hash="b")], received_at=START + 5000),
    )
    assert hashes(store, EventFilter("team_a", session_id="s1")) == ["a"]
    assert hashes(store, EventFilter("team_a", hash="b")) == ["b"]
    assert hashes(store, EventFilter("team_a", since_ms=START + 1)) == ["b"]
    assert hashes(store, EventFilter("team_a", session_id="s1", hash="b")) == []


def test_a_poisoned_segment_takes_nothing_in(store: DuckDBEventStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidSegment):
        load(store, tmp_path, "bad", line(), b'{"team": "team_a", "events": 7}\n', line())
    assert store.events(ALL) == []
    assert load(store, tmp_path, "bad", line()) == LoadResult(1)


def test_tidying_removes_old_events_and_forgets_what_cannot_come_again(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event(hash="old")]
    load(store, tmp_path, "one", line(batch, received_at=START))
    load(store, tmp_path, "two", line([event(hash="new")], received_at=START + 90_000))
    assert store.prune({"two"}, START + 100_000, event_ttl_s=60) == 1
    assert hashes(store) == ["new"]
    again = line(batch, received_at=START + 1)
    # Its digest is not too old yet.
    dropped = (DuplicateBatch("team_a", START + 1, 1),)
    assert load(store, tmp_path, "three", again) == LoadResult(0, dropped)
    assert load(store, tmp_path, "two", line()) == LoadResult(0)
    assert load(store, tmp_path, "one", line([event()])) == LoadResult(1)


def test_a_locked_store_is_away_and_comes_back(tmp_path: Path) -> None:
    (DataDir(tmp_path).event_store).write_bytes(b"no database" * 1000)
    store = DuckDBEventStore(tmp_path, 1_000_000)
    with pytest.raises(EventStoreUnavailable):
        store.open()
    with pytest.raises(EventStoreUnavailable):
        store.events(ALL)
    (DataDir(tmp_path).event_store).unlink()
    store.open()
    assert store.events(ALL) == []
    store.close()


def test_the_store_never_reaches_for_the_network(store: DuckDBEventStore) -> None:
    with store.cursor() as cursor, pytest.raises(duckdb.Error):
        cursor.execute("INSTALL spatial")
