"""Event store on DuckDB: one database file, opened by one process.

Each segment is loaded exactly once: its events, the digests of its batches and its own name are
committed in one transaction. DuckDB parses the segment file itself, without the GIL.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.errors import EventStoreUnavailable, InvalidSegment
from hitrate.events.deduplication import RESEND_WINDOW_MS, separate_duplicates
from hitrate.events.ingest import (
    Durations,
    ingest_batches,
    insert_senders,
    record_duplicates,
    with_sender,
)
from hitrate.events.migrations import create_or_migrate
from hitrate.events.models import EventFilter, EventRecord, LoadResult, OnDuplicates, event_record
from hitrate.events.schema import fetch_number, hash_key, kind_names, run_key
from hitrate.events.transfers import Transfers

_CLOSE_TIMEOUT_S = 5.0
_OPEN_TIMEOUT_S = 3.0
_LINE_OVERHEAD = 4
"""A spool line is at most this many times as long as the request body of its batch."""

_READ_SEGMENT = """
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT row_number() OVER () AS line, *
FROM read_ndjson(
    ?,
    columns = {
        team: 'VARCHAR', token: 'VARCHAR', "receivedAt": 'BIGINT', ci: 'VARCHAR',
        interactive: 'BOOLEAN', agent: 'VARCHAR', digest: 'VARCHAR',
        events: 'STRUCT("sessionId" VARCHAR, source VARCHAR, event VARCHAR, hash VARCHAR,
                 duration DOUBLE)[]'
    },
    maximum_object_size = ?
)
"""

_COUNT_INCOMPLETE_LINES = """
SELECT count(*) FROM incoming
WHERE team IS NULL OR token IS NULL OR "receivedAt" IS NULL OR digest IS NULL OR events IS NULL
"""

_COUNT_INCOMPLETE_EVENTS = """
SELECT count(*) FROM (SELECT unnest(events) AS e FROM incoming)
WHERE e."sessionId" IS NULL OR e.hash IS NULL
   OR coalesce(e.source NOT IN ('LOCAL', 'REMOTE') OR e.event NOT IN ('HIT', 'MISS'), true)
"""

_INSERT_BATCHES = """
INSERT INTO batches
SELECT team, token, digest, "receivedAt" FROM incoming
"""

# An active run needs its old events: without them, its tasks would count again.
_DELETE_OLD_EVENTS = """
DELETE FROM events
WHERE received_at < $before_ms AND run IN (SELECT id FROM runs WHERE ended_at < $before_ms)
"""

_TRANSFER_COLUMNS = {
    "moved_at": "BIGINT", "team": "VARCHAR", "token": "VARCHAR", "ci": "VARCHAR",
    "interactive": "BOOLEAN", "agent": "VARCHAR", "uploads": "BIGINT", "uploaded_bytes": "BIGINT",
    "downloads": "BIGINT", "downloaded_bytes": "BIGINT",
}  # fmt: skip

_STAGE_TRANSFERS = "CREATE OR REPLACE TEMP TABLE staged_transfers AS SELECT " + ", ".join(
    f"unnest(${name}::{type_name}[]) AS {name}" for name, type_name in _TRANSFER_COLUMNS.items()
)

_INSERT_TRANSFERS = f"""
INSERT INTO transfers
SELECT moved_at, s.id, uploads, uploaded_bytes, downloads, downloaded_bytes
FROM {with_sender("staged_transfers")}
"""

_FILTERS = {
    "session_id": f"run IN (SELECT id FROM runs WHERE key = {run_key('$team', '$session_id')}"
    " AND team_id = $team AND session_id = $session_id)",
    "hash": f"hash = {hash_key('$hash')}",
    "since_ms": "received_at >= $since_ms",
}
"""SQL conditions by the name of a field of EventFilter."""

_FIRST_WINDOW = 100_000
"""Number of event ids that a search for the newest events reads first; each further window is four
times as wide. Sorting all events takes DuckDB half a minute with a hundred million."""


def _select_events(conditions: list[str]) -> str:
    return f"""
        SELECT e.id, e.received_at, r.session_id, {kind_names("e.kind")},
               coalesce(n.name, printf('%016x', e.hash)), e.duration, s.ci, s.interactive, s.agent,
               s.token_id
        FROM (
            SELECT * FROM events
            WHERE {" AND ".join(conditions)}
            ORDER BY id DESC LIMIT $limit
        ) e
        JOIN runs r ON r.id = e.run
        JOIN senders s ON s.id = e.sender
        LEFT JOIN names n ON n.team_id = $team AND n.hash = e.hash
        ORDER BY e.id DESC
    """


class DuckDBEventStore:
    """Loads on one thread; queries from any thread. All methods may raise EventStoreUnavailable."""

    def __init__(
        self, data_dir: Path, max_line_bytes: int, durations: Durations | None = None
    ) -> None:
        """`durations` supplies the durations of remote hits that were sent without one."""
        self._durations = durations
        self._path = DataDir(data_dir).event_store
        self._max_line_bytes = max_line_bytes
        self._lock = threading.Condition()
        self._cursors = 0
        self._open_attempted = False
        self._connection: duckdb.DuckDBPyConnection | None = None

    def open(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Open the file, or create it. Does nothing when it is open.

        Readers wait up to 3 s for the first attempt. If that takes longer, because an old file is
        migrated, they get EventStoreUnavailable. `should_stop` is polled during a migration, so
        that a shutdown can interrupt it.
        """
        if self._connection is not None:
            return
        connection = None
        try:
            connection = self._connect(should_stop)
        finally:
            with self._lock:
                self._connection, self._open_attempted = connection, True
                self._lock.notify_all()

    def close(self) -> None:
        """Close the file when its readers are done, after 5 s at the latest. It may be reopened."""
        with self._lock, _map_duckdb_errors():
            connection, self._connection = self._connection, None
            self._lock.wait_for(lambda: self._cursors == 0, _CLOSE_TIMEOUT_S)
            if connection is not None:
                connection.close()

    def load(
        self, segment: Path, name: str, on_duplicates: OnDuplicates | None = None
    ) -> LoadResult:
        """Load a segment in one transaction, unless a segment of that name was loaded before.

        `on_duplicates` is called before the commit, so it is called at least once: after a crash
        it may be called again for the same segment.

        Raises InvalidSegment when a line can never be loaded. Nothing is loaded then.
        """
        with self.cursor() as cursor:
            if cursor.execute("SELECT 1 FROM segments WHERE name = ?", [name]).fetchone():
                return LoadResult(0)
            self._read_segment(cursor, segment)
            duplicates = separate_duplicates(cursor)
            cursor.execute("BEGIN")
            totals = ingest_batches(cursor, self._durations)
            if duplicates:
                record_duplicates(cursor)
            cursor.execute(_INSERT_BATCHES)
            cursor.execute("INSERT INTO segments VALUES (?)", [name])
            if on_duplicates is not None:
                for batch in duplicates:
                    on_duplicates(batch, name)
            cursor.execute("COMMIT")
            return LoadResult(totals.events, duplicates, totals)

    def check(self, segment: Path) -> str | None:
        """Return why a segment can never be loaded, or None if it can. Changes nothing."""
        with self.cursor() as cursor:
            try:
                self._read_segment(cursor, segment)
            except InvalidSegment as error:
                return str(error)
            if fetch_number(cursor, _COUNT_INCOMPLETE_EVENTS):
                return "An event lacks sessionId, source, event or hash."
            return None

    def prune(self, waiting: set[str], now_ms: int, event_ttl_s: float | None) -> int:
        """Delete expired rows. Return the number of deleted events.

        Deletes the names of segments that are not `waiting` in the spool, digests older than
        RESEND_WINDOW_MS, and, if older than `event_ttl_s`, runs with their events, and transfers.
        """
        with self.cursor() as cursor:
            cursor.execute("DELETE FROM segments WHERE NOT list_contains(?, name)", [list(waiting)])
            cursor.execute("DELETE FROM batches WHERE received_at < ?", [now_ms - RESEND_WINDOW_MS])
            if event_ttl_s is None:
                return 0
            before_ms = now_ms - int(event_ttl_s * 1000)
            cursor.execute("BEGIN")
            deleted = fetch_number(cursor, _DELETE_OLD_EVENTS, {"before_ms": before_ms})
            cursor.execute("DELETE FROM runs WHERE ended_at < ?", [before_ms])
            cursor.execute("DELETE FROM transfers WHERE moved_at < ?", [before_ms])
            cursor.execute("COMMIT")
            return deleted

    def add_transfers(self, transfers: Transfers) -> None:
        """Insert counts of uploads and downloads, all or none."""
        if not transfers:
            return
        rows = [(*key, *totals) for key, totals in transfers.items()]
        columns = (list(column) for column in zip(*rows, strict=True))
        with self.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(_STAGE_TRANSFERS, dict(zip(_TRANSFER_COLUMNS, columns, strict=True)))
            cursor.execute(insert_senders("staged_transfers"))
            cursor.execute(_INSERT_TRANSFERS)
            cursor.execute("COMMIT")

    def events(self, event_filter: EventFilter) -> list[EventRecord]:
        """Return matching events, newest first, at most `event_filter.limit`."""
        parameters = {
            name: value for name in _FILTERS if (value := getattr(event_filter, name)) is not None
        }
        query = _select_events(
            [
                "sender IN (SELECT id FROM senders WHERE team_id = $team)",
                "id >= $start AND id < $stop",
                *(_FILTERS[name] for name in parameters),
            ]
        )
        rows: list[tuple[object, ...]] = []
        with self.cursor() as cursor:
            for start, stop in _id_windows(cursor, event_filter.before):
                window = {"start": start, "stop": stop, "limit": event_filter.limit - len(rows)}
                values = {**parameters, **window, "team": event_filter.team_id}
                rows += cursor.execute(query, values).fetchall()
                if len(rows) == event_filter.limit:
                    break
        return [event_record(row) for row in rows]

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a cursor for queries. It sees all events of a segment or none.

        Raises EventStoreUnavailable, also for errors of DuckDB inside the `with` block.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._open_attempted, _OPEN_TIMEOUT_S)
            if self._connection is None:
                raise EventStoreUnavailable("The event store is not open; try again in a moment.")
            cursor = self._connection.cursor()
            self._cursors += 1
        try:
            with _map_duckdb_errors():
                yield cursor
        finally:
            cursor.close()
            with self._lock:
                self._cursors -= 1
                self._lock.notify_all()

    def _connect(self, should_stop: Callable[[], bool]) -> duckdb.DuckDBPyConnection:
        with _map_duckdb_errors():
            connection = duckdb.connect(
                str(self._path),
                config={
                    "memory_limit": "1GB",
                    # Queries run on the thread that calls, and so at the priority of that thread.
                    "threads": 1,
                    "autoinstall_known_extensions": False,
                    # Reports over very many events may exceed the memory limit.
                    "temp_directory": str(self._path.with_name("spill")),
                    "max_temp_directory_size": "4GB",
                    # Each checkpoint recompresses the last rows, so fewer are cheaper.
                    "checkpoint_threshold": "64MB",
                },
            )
            try:
                create_or_migrate(connection, self._durations, should_stop)
                self._path.chmod(0o600)
            except BaseException:
                connection.close()  # rolls back
                raise
        return connection

    def _read_segment(self, cursor: duckdb.DuckDBPyConnection, segment: Path) -> None:
        try:
            cursor.execute(_READ_SEGMENT, [str(segment), self._max_line_bytes])
        except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
            raise InvalidSegment(_reason(error)) from error
        if fetch_number(cursor, _COUNT_INCOMPLETE_LINES):
            raise InvalidSegment("A line lacks team, token, receivedAt, digest or events.")


def create_event_store(settings: Settings, durations: Durations | None = None) -> DuckDBEventStore:
    """Create the event store of a data directory, not opened.

    `durations` supplies the durations of artifacts; only loading needs it.
    """
    max_line_bytes = _LINE_OVERHEAD * settings.max_body_bytes + 64 * 1024
    return DuckDBEventStore(settings.data_dir, max_line_bytes, durations)


def _id_windows(cursor: duckdb.DuckDBPyConnection, before: int | None) -> Iterator[tuple[int, int]]:
    """Iterate over ranges of event ids, newest first. Each is four times as wide as the last."""
    [(first, last)] = cursor.execute("SELECT min(id), max(id) FROM events").fetchall()
    if last is None:
        return
    stop, width = last + 1 if before is None else min(before, last + 1), _FIRST_WINDOW
    while stop > first:
        yield stop - width, stop
        stop, width = stop - width, width * 4


def _reason(error: duckdb.Error) -> str:
    """Return DuckDB's message without the path of the file, the line in it, and advice on SQL.

    The file may be a temporary one, of which only this line is quarantined.
    """
    message, _, _ = str(error).partition("\nTry setting")
    return re.sub(r' in file ".*?",( at byte \d+)? in line \d+', r"\1", message).strip()


@contextmanager
def _map_duckdb_errors() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        needs_reopen = isinstance(error, duckdb.FatalException | duckdb.InternalException)
        raise EventStoreUnavailable(str(error), reopen=needs_reopen) from error
