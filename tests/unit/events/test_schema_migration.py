"""The event store's file of the first release, which knew no runs, becomes one of today's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb
import msgspec
import pytest

from hitrate.datadir import DataDir
from hitrate.errors import EventStoreUnavailable
from hitrate.events import migrations
from hitrate.events.ingest import ingest_batches
from hitrate.events.models import DuplicateBatch, EventFilter, EventRecord, LoadResult
from hitrate.events.store import DuckDBEventStore
from hitrate.events.wire import Batch, CacheEvent, encode_batch
from tests.support.event_factory import event, line

START = 1_800_000_000_000

# As it stood in the release.
_TABLES = """
CREATE SEQUENCE IF NOT EXISTS event_ids;
CREATE TABLE IF NOT EXISTS events (
    id BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    team_id VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    ci VARCHAR,
    interactive BOOLEAN,
    agent VARCHAR,
    session_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    event VARCHAR NOT NULL,
    hash VARCHAR NOT NULL,
    duration DOUBLE
);
CREATE TABLE IF NOT EXISTS batches (
    team_id VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (name VARCHAR NOT NULL);
"""

_INSERT = "INSERT INTO events VALUES (nextval('event_ids'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_HASHES = ("0123456789abcdef", "odd/é\0", "ffffffffffffffff", "0123456789ABCDEF")


class Old(NamedTuple):
    """A row of the old table, without its id."""

    received_at: int
    team: str
    token: str
    ci: str | None
    interactive: bool | None
    agent: str | None
    session: str
    source: Literal["LOCAL", "REMOTE"]
    event: Literal["HIT", "MISS"]
    hash: str
    duration: float | None


def rows(many: int) -> list[Old]:
    """Events of two teams, whose sessions have the same names, out of order here and there."""
    return [
        Old(
            received_at=START + number * 1000 - (5000 if number % 7 == 0 else 0),
            team="team_a" if number % 3 else "team_b",
            token=f"tok_{number % 2}",
            ci=None if number % 4 else "GITHUB_ACTIONS",
            interactive=(None, True, False)[number % 3],
            agent=None if number % 5 else "claude-code",
            session=f"session {number // 9}",
            source="LOCAL" if number % 2 else "REMOTE",
            event="HIT" if number % 3 else "MISS",
            hash=_HASHES[number % len(_HASHES)],
            duration=None if number % 6 == 0 else float(number),
        )
        for number in range(many)
    ]


def write_old(folder: Path, events: list[Old], first_id: int = 1) -> None:
    """A file as the first release leaves it; it has loaded one segment."""
    connection = duckdb.connect(str(DataDir(folder).event_store))
    connection.execute(_TABLES)
    if first_id > 1:  # older ones were removed
        connection.execute(f"SELECT max(nextval('event_ids')) FROM range({first_id - 1})")
    if events:
        connection.executemany(_INSERT, events)
    digest = "d" * 32
    connection.execute("INSERT INTO batches VALUES ('team_a', 'tok_a', ?, ?)", [digest, START])
    connection.execute("INSERT INTO segments VALUES ('loaded')")
    connection.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBEventStore]:
    store = DuckDBEventStore(tmp_path, 1_000_000)
    yield store
    store.close()


def found(store: DuckDBEventStore, team: str) -> list[EventRecord]:
    return store.events(EventFilter(team, limit=10_000))[::-1]


def runs(store: DuckDBEventStore) -> list[tuple[object, ...]]:
    """Without their ids: what differs where events were loaded otherwise."""
    query = """
        SELECT r.team_id, session_id, s.* EXCLUDE (id), r.* EXCLUDE (id, sender) FROM runs r
        JOIN senders s ON s.id = r.sender ORDER BY ALL
    """
    with store.cursor() as cursor:
        return cursor.execute(query).fetchall()


def assert_same_events(store: DuckDBEventStore, events: list[Old]) -> None:
    for team in ("team_a", "team_b"):
        told = [
            (r.session_id, r.source, r.event, r.hash, r.duration, r.ci, r.interactive, r.agent,
             r.token_id) for r in found(store, team)
        ]  # fmt: skip
        assert told == [
            (e.session, e.source, e.event, e.hash, e.duration, e.ci, e.interactive, e.agent,
             e.token) for e in events if e.team == team
        ]  # fmt: skip


def test_every_event_is_found_again_in_its_order(store: DuckDBEventStore, tmp_path: Path) -> None:
    events = rows(200)
    write_old(tmp_path, events)
    store.open()
    assert_same_events(store, events)


def test_runs_are_those_that_the_loader_makes_of_the_same_events(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    events = rows(200)
    write_old(tmp_path, events)
    store.open()
    anew = DuckDBEventStore(tmp_path / "anew", 1_000_000)
    (tmp_path / "anew").mkdir()
    anew.open()
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(b"".join(as_line(number, one) for number, one in enumerate(events)))
    anew.load(segment, "one")
    assert runs(store) == runs(anew)
    assert len(runs(store)) == 2 * len({one.session for one in events})
    anew.close()


def as_line(number: int, one: Old) -> bytes:
    """A batch of one event."""
    duration = msgspec.UNSET if one.duration is None else one.duration
    item = CacheEvent(one.session, one.source, one.event, one.hash, duration)
    client = (one.ci, one.interactive, one.agent)
    batch = Batch(one.team, one.token, one.received_at, *client, f"{number}", [item])
    return encode_batch(batch)


def test_more_events_than_are_taken_over_at_once(
    store: DuckDBEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = rows(100)
    write_old(tmp_path, events, first_id=100)
    (tmp_path / "whole").mkdir()
    write_old(tmp_path / "whole", events)
    whole = DuckDBEventStore(tmp_path / "whole", 1_000_000)
    whole.open()
    monkeypatch.setattr(migrations, "MIGRATION_BATCH_SIZE", 30)
    store.open()
    assert_same_events(store, events)
    assert runs(store) == runs(whole)
    whole.close()


def test_an_end_on_the_way_leaves_the_old_file_for_the_next_start(
    store: DuckDBEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = rows(100)
    write_old(tmp_path, events)
    monkeypatch.setattr(migrations, "MIGRATION_BATCH_SIZE", 30)
    asked = iter([False, False, True])
    with pytest.raises(EventStoreUnavailable, match="at the next start"):
        store.open(lambda: next(asked))
    with pytest.raises(EventStoreUnavailable):
        found(store, "team_a")
    store.open()
    assert_same_events(store, events)


def test_new_events_come_behind_the_old_ones(store: DuckDBEventStore, tmp_path: Path) -> None:
    write_old(tmp_path, rows(30))
    store.open()
    before = [record.id for record in found(store, "team_a")]
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(line([event(hash="new")]))
    store.load(segment, "new")
    *ids, last = (record.id for record in found(store, "team_a"))
    assert ids == before == sorted(before)
    assert last > ids[-1]


def test_what_was_loaded_before_is_not_loaded_again(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    write_old(tmp_path, rows(30))
    store.open()
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(line([event()]))
    assert store.load(segment, "loaded") == LoadResult(0)
    items = [CacheEvent("session 0", "LOCAL", "HIT", "h")]
    again = Batch("team_a", "tok_a", START + 1, None, None, None, "d" * 32, items)
    segment.write_bytes(encode_batch(again))
    assert store.load(segment, "again") == LoadResult(0, (DuplicateBatch("team_a", START + 1, 1),))


def test_a_run_that_goes_on_is_the_same_run(store: DuckDBEventStore, tmp_path: Path) -> None:
    old = Old(START, "team_a", "tok_a", None, None, None, "s", "REMOTE", "HIT", "h", 5.0)
    write_old(tmp_path, [old])
    store.open()
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(line([event(sessionId="s", hash="h", duration=7)], received_at=START + 9))
    store.load(segment, "more")
    with store.cursor() as cursor:
        query = "SELECT started_at, ended_at, tasks, local_hits, local_ms, remote_ms FROM runs"
        assert cursor.execute(query).fetchall() == [(START, START + 9, 1, 1, 7, 0)]


@pytest.mark.parametrize("at", [1, 3])
def test_a_crash_between_leaves_the_old_file_whole(
    store: DuckDBEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    events = rows(60)
    write_old(tmp_path, events)
    monkeypatch.setattr(migrations, "MIGRATION_BATCH_SIZE", 10)
    calls = iter(range(100))

    def fail(cursor: duckdb.DuckDBPyConnection, durations: None) -> object:
        if next(calls) == at:
            raise duckdb.OutOfMemoryException("none left")
        return ingest_batches(cursor, durations)

    monkeypatch.setattr("hitrate.events.migrations.ingest_batches", fail)
    with pytest.raises(EventStoreUnavailable, match="none left"):
        store.open()
    connection = duckdb.connect(str(DataDir(tmp_path).event_store))
    kept = connection.execute("SELECT * EXCLUDE (id) FROM events ORDER BY id").fetchall()
    names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    connection.close()
    assert kept == events
    assert {name for (name,) in names} == {"events", "batches", "segments"}
    monkeypatch.undo()
    store.open()
    assert_same_events(store, events)


def test_an_empty_old_file(store: DuckDBEventStore, tmp_path: Path) -> None:
    write_old(tmp_path, [])
    store.open()
    assert found(store, "team_a") == []
    store.close()
    store.open()
    assert runs(store) == []
