"""Event store: segments and batches are loaded once, and events are returned in order."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from hitrate.datadir import DataDir
from hitrate.errors import EventStoreUnavailable, InvalidSegment
from hitrate.events.deduplication import RESEND_WINDOW_MS
from hitrate.events.models import DuplicateBatch, EventFilter, LoadResult
from hitrate.events.store import DuckDBEventStore
from tests.support.event_factory import event, line

START_MS = 1_800_000_000_000
ALL = EventFilter("team_a", limit=1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBEventStore]:
    store = DuckDBEventStore(tmp_path, 1_000_000)
    store.open()
    yield store
    store.close()


def load(store: DuckDBEventStore, directory: Path, name: str, *lines: bytes) -> LoadResult:
    segment = directory / name
    segment.write_bytes(b"".join(lines))
    return store.load(segment, name)


def hashes(store: DuckDBEventStore, event_filter: EventFilter = ALL) -> list[str]:
    return [record.hash for record in store.events(event_filter)]


def test_event_is_returned_as_sent(store: DuckDBEventStore, tmp_path: Path) -> None:
    unusual = event(
        sessionId='s\0"\\', source="REMOTE", event="MISS", hash="h\n😀\u2028", duration=-0.5
    )
    load(store, tmp_path, "one", line([unusual], received_at=START_MS + 7))
    [record] = store.events(ALL)
    assert (record.session_id, record.hash, record.duration) == ('s\0"\\', "h\n😀\u2028", -0.5)
    assert (record.source, record.event, record.token_id) == ("REMOTE", "MISS", "tok_a")
    assert record.received_at == "2027-01-15T08:00:00.007Z"


def test_segment_of_the_same_name_is_loaded_once(store: DuckDBEventStore, tmp_path: Path) -> None:
    assert load(store, tmp_path, "one", line(), line()) == LoadResult(2)
    assert load(store, tmp_path, "one", line(), line()) == LoadResult(0)
    store.close()
    store.open()
    assert load(store, tmp_path, "one", line()) == LoadResult(0)
    assert len(store.events(ALL)) == 2


def test_run_ids_follow_the_order_of_batches_across_segments(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    sessions = [str(UUID(int=number)) for number in range(16)]
    for name, sessions_of_segment in (("one", sessions[:8]), ("two", sessions[8:])):
        load(
            store,
            tmp_path,
            name,
            *(line([event(sessionId=session)]) for session in sessions_of_segment),
        )
    with store.cursor() as cursor:
        rows = cursor.execute("SELECT session_id FROM runs ORDER BY id").fetchall()
    assert [session for (session,) in rows] == sessions


def test_batch_resent_within_ten_minutes_is_a_duplicate(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event(), event()]
    first, resent = line(batch, received_at=START_MS), line(batch, received_at=START_MS + 1)
    late = line(batch, received_at=START_MS + RESEND_WINDOW_MS - 1)
    assert load(store, tmp_path, "one", first, resent) == LoadResult(
        2, (DuplicateBatch("team_a", START_MS + 1, 2),)
    )
    store.close()
    store.open()
    latest = START_MS + RESEND_WINDOW_MS - 1
    loaded = load(store, tmp_path, "two", late)
    assert loaded == LoadResult(0, (DuplicateBatch("team_a", latest, 2),))
    assert loaded.duplicate_events == 2


def test_duplicates_are_reported_by_team_with_their_latest_time(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event(), event()]
    lines = [
        line(batch, team=team, received_at=START_MS + n)
        for team in ("team_a", "team_b")
        for n in range(3)
    ]
    loaded = load(store, tmp_path, "one", *lines, line([event()]))
    assert loaded.events == 5
    assert sorted(loaded.duplicates) == [
        DuplicateBatch("team_a", START_MS + 2, 4),
        DuplicateBatch("team_b", START_MS + 2, 4),
    ]
    assert loaded.duplicate_events == 8


def test_batch_resent_after_ten_minutes_is_counted(store: DuckDBEventStore, tmp_path: Path) -> None:
    batch = [event()]
    load(store, tmp_path, "one", line(batch, received_at=START_MS))
    later = line(batch, received_at=START_MS + RESEND_WINDOW_MS)
    assert load(store, tmp_path, "two", later) == LoadResult(1)


def test_same_batch_of_another_token_or_team_is_counted(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event()]
    lines = (line(batch), line(batch, token="tok_b"), line(batch, team="team_b"))
    assert load(store, tmp_path, "one", *lines) == LoadResult(3)


def test_events_of_another_team_are_not_returned(store: DuckDBEventStore, tmp_path: Path) -> None:
    load(store, tmp_path, "one", line([event(hash="mine")]), line([event()], team="team_b"))
    assert hashes(store) == ["mine"]


def test_events_are_returned_newest_first_and_pages_are_contiguous(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batches = [line([event(hash=f"{n}a"), event(hash=f"{n}b")]) for n in range(10)]
    load(store, tmp_path, "one", *batches)
    all_hashes = hashes(store)
    assert all_hashes[:3] == ["9b", "9a", "8b"]
    paged_hashes: list[str] = []
    before = None
    while page := store.events(EventFilter("team_a", before=before, limit=3)):
        paged_hashes += [record.hash for record in page]
        before = page[-1].id
    assert paged_hashes == all_hashes


def test_event_filter_selects_by_session_hash_and_time(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    load(
        store,
        tmp_path,
        "one",
        line([event(sessionId="s1", hash="a")], received_at=START_MS),
        line([event(sessionId="s2", hash="b")], received_at=START_MS + 5000),
    )
    assert hashes(store, EventFilter("team_a", session_id="s1")) == ["a"]
    assert hashes(store, EventFilter("team_a", hash="b")) == ["b"]
    assert hashes(store, EventFilter("team_a", since_ms=START_MS + 1)) == ["b"]
    assert hashes(store, EventFilter("team_a", session_id="s1", hash="b")) == []


def test_invalid_segment_loads_nothing(store: DuckDBEventStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidSegment):
        load(store, tmp_path, "bad", line(), b'{"team": "team_a", "events": 7}\n', line())
    assert store.events(ALL) == []
    assert load(store, tmp_path, "bad", line()) == LoadResult(1)


def test_prune_deletes_old_events_and_names_of_removed_segments(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    batch = [event(hash="old")]
    load(store, tmp_path, "one", line(batch, received_at=START_MS))
    load(store, tmp_path, "two", line([event(hash="new")], received_at=START_MS + 90_000))
    assert store.prune({"two"}, START_MS + 100_000, event_ttl_s=60) == 1
    assert hashes(store) == ["new"]
    resent = line(batch, received_at=START_MS + 1)
    # Its digest is still within the window.
    duplicates = (DuplicateBatch("team_a", START_MS + 1, 1),)
    assert load(store, tmp_path, "three", resent) == LoadResult(0, duplicates)
    assert load(store, tmp_path, "two", line()) == LoadResult(0)
    assert load(store, tmp_path, "one", line([event()])) == LoadResult(1)


def test_damaged_store_is_unavailable_until_the_file_is_replaced(tmp_path: Path) -> None:
    DataDir(tmp_path).event_store.write_bytes(b"no database" * 1000)
    store = DuckDBEventStore(tmp_path, 1_000_000)
    with pytest.raises(EventStoreUnavailable):
        store.open()
    with pytest.raises(EventStoreUnavailable):
        store.events(ALL)
    DataDir(tmp_path).event_store.unlink()
    store.open()
    assert store.events(ALL) == []
    store.close()


def test_store_does_not_install_extensions(store: DuckDBEventStore) -> None:
    with store.cursor() as cursor, pytest.raises(duckdb.Error):
        cursor.execute("INSTALL spatial")
