"""Schema of the event store: versions, and the migration from the first release."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb
import msgspec
import pytest

from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.errors import EventStoreUnavailable
from hitrate.events import migrations
from hitrate.events.ingest import ingest_batches
from hitrate.events.loader import Loader
from hitrate.events.models import DuplicateBatch, EventFilter, EventRecord, LoadResult
from hitrate.events.quarantine import Quarantine
from hitrate.events.schema import SCHEMA_VERSION
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.events.wire import Batch, CacheEvent, encode_batch
from hitrate.metrics import Metrics
from tests.support.event_factory import event, line

START_MS = 1_800_000_000_000

# The schema of the first release.
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


class LegacyEvent(NamedTuple):
    """A row of `events` in the first release, without its id."""

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


def rows(count: int) -> list[LegacyEvent]:
    """Create events of two teams with the same session names. Some are out of order."""
    return [
        LegacyEvent(
            received_at=START_MS + number * 1000 - (5000 if number % 7 == 0 else 0),
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
        for number in range(count)
    ]


def write_legacy_file(directory: Path, events: list[LegacyEvent], first_id: int = 1) -> None:
    """Write a file of the first release, which has loaded one segment."""
    connection = duckdb.connect(str(DataDir(directory).event_store))
    connection.execute(_TABLES)
    if first_id > 1:  # earlier events were pruned
        connection.execute(f"SELECT max(nextval('event_ids')) FROM range({first_id - 1})")
    if events:
        connection.executemany(_INSERT, events)
    digest = "d" * 32
    connection.execute("INSERT INTO batches VALUES ('team_a', 'tok_a', ?, ?)", [digest, START_MS])
    connection.execute("INSERT INTO segments VALUES ('loaded')")
    connection.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBEventStore]:
    store = DuckDBEventStore(tmp_path, 1_000_000)
    yield store
    store.close()


def records(store: DuckDBEventStore, team: str) -> list[EventRecord]:
    return store.events(EventFilter(team, limit=10_000))[::-1]


def runs(store: DuckDBEventStore) -> list[tuple[object, ...]]:
    """Return all runs with their senders, without ids."""
    query = """
        SELECT r.team_id, session_id, s.* EXCLUDE (id), r.* EXCLUDE (id, sender) FROM runs r
        JOIN senders s ON s.id = r.sender ORDER BY ALL
    """
    with store.cursor() as cursor:
        return cursor.execute(query).fetchall()


def assert_same_events(store: DuckDBEventStore, events: list[LegacyEvent]) -> None:
    for team in ("team_a", "team_b"):
        read_events = [
            (r.session_id, r.source, r.event, r.hash, r.duration, r.ci, r.interactive, r.agent,
             r.token_id) for r in records(store, team)
        ]  # fmt: skip
        assert read_events == [
            (e.session, e.source, e.event, e.hash, e.duration, e.ci, e.interactive, e.agent,
             e.token) for e in events if e.team == team
        ]  # fmt: skip


def test_migration_keeps_all_events_in_order(store: DuckDBEventStore, tmp_path: Path) -> None:
    events = rows(200)
    write_legacy_file(tmp_path, events)
    store.open()
    assert_same_events(store, events)


def test_migrated_runs_equal_runs_loaded_from_the_same_events(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    events = rows(200)
    write_legacy_file(tmp_path, events)
    store.open()
    fresh = DuckDBEventStore(tmp_path / "fresh", 1_000_000)
    (tmp_path / "fresh").mkdir()
    fresh.open()
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(b"".join(spool_line(number, one) for number, one in enumerate(events)))
    fresh.load(segment, "one")
    assert runs(store) == runs(fresh)
    assert len(runs(store)) == 2 * len({one.session for one in events})
    fresh.close()


def spool_line(number: int, one: LegacyEvent) -> bytes:
    """Encode a batch of one event."""
    duration = msgspec.UNSET if one.duration is None else one.duration
    item = CacheEvent(one.session, one.source, one.event, one.hash, duration)
    client = (one.ci, one.interactive, one.agent)
    batch = Batch(one.team, one.token, one.received_at, *client, f"{number}", [item])
    return encode_batch(batch)


def test_migration_in_several_batches_gives_the_same_runs(
    store: DuckDBEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = rows(100)
    write_legacy_file(tmp_path, events, first_id=100)
    (tmp_path / "whole").mkdir()
    write_legacy_file(tmp_path / "whole", events)
    reference = DuckDBEventStore(tmp_path / "whole", 1_000_000)
    reference.open()
    monkeypatch.setattr(migrations, "MIGRATION_BATCH_SIZE", 30)
    store.open()
    assert_same_events(store, events)
    assert runs(store) == runs(reference)
    reference.close()


def test_interrupted_migration_leaves_the_file_for_the_next_start(
    store: DuckDBEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = rows(100)
    write_legacy_file(tmp_path, events)
    monkeypatch.setattr(migrations, "MIGRATION_BATCH_SIZE", 30)
    stop_results = iter([False, False, True])
    with pytest.raises(EventStoreUnavailable, match="at the next start"):
        store.open(lambda: next(stop_results))
    with pytest.raises(EventStoreUnavailable):
        records(store, "team_a")
    store.open()
    assert_same_events(store, events)


def test_new_events_get_higher_ids_than_migrated_ones(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    write_legacy_file(tmp_path, rows(30))
    store.open()
    before = [record.id for record in records(store, "team_a")]
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(line([event(hash="new")]))
    store.load(segment, "new")
    *ids, last = (record.id for record in records(store, "team_a"))
    assert ids == before == sorted(before)
    assert last > ids[-1]


def test_segments_and_batches_loaded_before_the_migration_are_not_loaded_again(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    write_legacy_file(tmp_path, rows(30))
    store.open()
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(line([event()]))
    assert store.load(segment, "loaded") == LoadResult(0)
    items = [CacheEvent("session 0", "LOCAL", "HIT", "h")]
    resent = Batch("team_a", "tok_a", START_MS + 1, None, None, None, "d" * 32, items)
    segment.write_bytes(encode_batch(resent))
    assert store.load(segment, "again") == LoadResult(
        0, (DuplicateBatch("team_a", START_MS + 1, 1),)
    )


def test_migrated_run_continues_with_new_events(store: DuckDBEventStore, tmp_path: Path) -> None:
    old = LegacyEvent(START_MS, "team_a", "tok_a", None, None, None, "s", "REMOTE", "HIT", "h", 5.0)
    write_legacy_file(tmp_path, [old])
    store.open()
    segment = tmp_path / "segment.ndjson"
    segment.write_bytes(
        line([event(sessionId="s", hash="h", duration=7)], received_at=START_MS + 9)
    )
    store.load(segment, "more")
    with store.cursor() as cursor:
        query = "SELECT started_at, ended_at, tasks, local_hits, local_ms, remote_ms FROM runs"
        assert cursor.execute(query).fetchall() == [(START_MS, START_MS + 9, 1, 1, 7, 0)]


@pytest.mark.parametrize("at", [1, 3])
def test_failed_migration_leaves_the_file_unchanged(
    store: DuckDBEventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    events = rows(60)
    write_legacy_file(tmp_path, events)
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
    legacy_rows = connection.execute("SELECT * EXCLUDE (id) FROM events ORDER BY id").fetchall()
    tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    connection.close()
    assert legacy_rows == events
    assert {name for (name,) in tables} == {"events", "batches", "segments"}
    monkeypatch.undo()
    store.open()
    assert_same_events(store, events)


def test_migration_of_a_file_without_events(store: DuckDBEventStore, tmp_path: Path) -> None:
    write_legacy_file(tmp_path, [])
    store.open()
    assert records(store, "team_a") == []
    store.close()
    store.open()
    assert runs(store) == []


# Versions

_WRITE_AND_CRASH = """
import os, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute(sys.argv[2])
os._exit(0)
"""


def schema_versions(data_dir: Path) -> list[int]:
    connection = duckdb.connect(str(DataDir(data_dir).event_store))
    rows = connection.execute("SELECT version FROM schema_version").fetchall()
    connection.close()
    return [version for (version,) in rows]


def change_file(data_dir: Path, statement: str) -> None:
    connection = duckdb.connect(str(DataDir(data_dir).event_store))
    connection.execute(statement)
    connection.close()


def load_event(store: DuckDBEventStore, directory: Path, name: str) -> None:
    segment = directory / "segment.ndjson"
    segment.write_bytes(line([event(hash=name)]))
    store.load(segment, name)


def test_new_file_has_the_current_version(store: DuckDBEventStore, tmp_path: Path) -> None:
    store.open()
    store.close()
    assert schema_versions(tmp_path) == [SCHEMA_VERSION]
    store.open()
    store.close()
    assert schema_versions(tmp_path) == [SCHEMA_VERSION]


def test_file_without_version_is_version_1(store: DuckDBEventStore, tmp_path: Path) -> None:
    store.open()
    load_event(store, tmp_path, "before")
    store.close()
    change_file(tmp_path, "DROP TABLE schema_version")
    store.open()
    load_event(store, tmp_path, "after")
    assert [record.hash for record in records(store, "team_a")] == ["before", "after"]
    store.close()
    assert schema_versions(tmp_path) == [1]


def test_migrated_file_has_the_current_version(store: DuckDBEventStore, tmp_path: Path) -> None:
    write_legacy_file(tmp_path, rows(30))
    store.open()
    store.close()
    assert schema_versions(tmp_path) == [SCHEMA_VERSION]


def test_file_of_a_newer_version_is_rejected_and_not_changed(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    store.open()
    load_event(store, tmp_path, "newer")
    store.close()
    change_file(tmp_path, f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    content = DataDir(tmp_path).event_store.read_bytes()
    for _ in range(2):
        with pytest.raises(EventStoreUnavailable) as raised:
            store.open()
        assert f"schema version {SCHEMA_VERSION + 1}" in str(raised.value)
        assert f"supports only {SCHEMA_VERSION}" in str(raised.value)
        assert "Start the newer hitrate" in str(raised.value)
        with pytest.raises(EventStoreUnavailable):
            records(store, "team_a")
    assert DataDir(tmp_path).event_store.read_bytes() == content


def test_write_ahead_log_of_a_newer_version_is_not_changed(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    path = DataDir(tmp_path).event_store
    store.open()
    store.close()
    write = f"""
        UPDATE schema_version SET version = {SCHEMA_VERSION + 1};
        CREATE TABLE added_by_the_newer_version (id INTEGER);
    """
    subprocess.run([sys.executable, "-c", _WRITE_AND_CRASH, str(path), write], check=True)
    files = [path, path.with_name(path.name + ".wal")]
    content = [file.read_bytes() for file in files]
    with pytest.raises(EventStoreUnavailable, match="schema version"):
        store.open()
    assert [file.read_bytes() for file in files] == content


def test_loader_reports_a_newer_version_and_keeps_the_segments(
    store: DuckDBEventStore, tmp_path: Path
) -> None:
    store.open()
    store.close()
    change_file(tmp_path, f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    data_dir = DataDir(tmp_path)
    data_dir.spool.mkdir()
    segment = data_dir.spool / "1800000000000-aaaaaaaa.ndjson"
    segment.write_bytes(line())
    spool = Spool(data_dir.spool, ManualClock())
    spool.open()
    loader = Loader(spool, store, Quarantine(data_dir.quarantine), Metrics(), ManualClock())
    assert not loader.run_once()
    assert "Start the newer hitrate" in str(loader.last_error)
    spool.close()
    assert segment.exists()
