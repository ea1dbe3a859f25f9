"""The event store on DuckDB, the embedded default: one file, one writing process.

A segment is loaded exactly once: its rows, the digests of its batches and its own name are one
transaction. DuckDB reads the segment's file itself, outside the interpreter's lock.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from hitrate.events.store import (
    Dropped,
    EventFilter,
    EventRecord,
    Loaded,
    OnDropped,
    PoisonedSegment,
    StoreAway,
    record,
)

FILE_NAME = "events.duckdb"
_READERS_S = 5.0
RESEND_WINDOW_MS = 10 * 60 * 1000

_SCHEMA = """
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

_READ = """
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

_INCOMPLETE_LINES = """
SELECT count(*) FROM incoming
WHERE team IS NULL OR token IS NULL OR "receivedAt" IS NULL OR digest IS NULL OR events IS NULL
"""

_INCOMPLETE_EVENTS = """
SELECT count(*) FROM (SELECT unnest(events) AS e FROM incoming)
WHERE e."sessionId" IS NULL OR e.source IS NULL OR e.event IS NULL OR e.hash IS NULL
"""

_DUPLICATES = """
CREATE OR REPLACE TEMP TABLE duplicates AS
SELECT line FROM incoming
WINDOW same AS (PARTITION BY team, token, digest ORDER BY line)
QUALIFY row_number() OVER same > 1 AND "receivedAt" < min("receivedAt") OVER same + ?
UNION
SELECT line FROM incoming SEMI JOIN batches
    ON team = team_id AND token = token_id AND incoming.digest = batches.digest
    AND "receivedAt" < received_at + ?
"""

_DUPLICATE_EVENTS = """
SELECT team, max("receivedAt"), sum(len(events))::BIGINT FROM incoming
WHERE line IN (SELECT line FROM duplicates) GROUP BY team
"""

_KEEP_EVENTS = """
INSERT INTO events
SELECT nextval('event_ids'), "receivedAt", team, token, ci, interactive, agent,
       e."sessionId", e.source, e.event, e.hash, e.duration
FROM (SELECT *, unnest(events) AS e FROM incoming)
"""

_KEEP_BATCHES = """
INSERT INTO batches
SELECT team, token, digest, "receivedAt" FROM incoming
"""

_FIELDS = (
    "id, received_at, session_id, source, event, hash, duration, ci, interactive, agent, token_id"
)


class DuckDBEventStore:
    """Loading on one thread; queries from any. Everything may raise StoreAway."""

    def __init__(self, data_dir: Path, max_line_bytes: int) -> None:
        self._path = data_dir / FILE_NAME
        self._max_line_bytes = max_line_bytes
        self._lock = threading.Condition()
        self._cursors = 0
        self._connection: duckdb.DuckDBPyConnection | None = None

    def open(self) -> None:
        """Open or create the file; does nothing when it is open."""
        with self._lock, _translated():
            if self._connection is not None:
                return
            connection = duckdb.connect(
                str(self._path),
                config={
                    "memory_limit": "1GB",
                    # It works on the thread that calls it, and so at that thread's priority.
                    "threads": 1,
                    "autoinstall_known_extensions": False,
                    "temp_directory": "",
                    # Each checkpoint compresses the last rows anew: fewer are cheaper.
                    "checkpoint_threshold": "64MB",
                },
            )
            connection.execute(_SCHEMA)
            self._path.chmod(0o600)
            self._connection = connection

    def close(self) -> None:
        """Close the file, after whoever reads it; it may be opened again."""
        with self._lock, _translated():
            connection, self._connection = self._connection, None
            self._lock.wait_for(lambda: self._cursors == 0, _READERS_S)
            if connection is not None:
                connection.close()

    def load(self, segment: Path, name: str, on_dropped: OnDropped | None = None) -> Loaded:
        """Take the segment's events in, once: a name that was loaded before is not again.

        `on_dropped` hears of what had come before, and the name, at least once: a crash before
        the commit has it hear the same again.

        Raises PoisonedSegment, with nothing taken in, when a line can never be read.
        """
        with self._cursor() as cursor:
            if cursor.execute("SELECT 1 FROM segments WHERE name = ?", [name]).fetchone():
                return Loaded(0)
            self._read(cursor, segment)
            dropped = self._drop_duplicates(cursor)
            cursor.execute("BEGIN")
            try:
                kept = _changed(cursor, _KEEP_EVENTS)
            except duckdb.ConstraintException as error:
                raise PoisonedSegment(str(error)) from error
            cursor.execute(_KEEP_BATCHES)
            cursor.execute("INSERT INTO segments VALUES (?)", [name])
            if on_dropped is not None:
                for one in dropped:
                    on_dropped(*one, name)
            cursor.execute("COMMIT")
            cursor.execute("DROP TABLE incoming")
            return Loaded(kept, dropped)

    def check(self, segment: Path) -> str | None:
        """Why the segment cannot be read, or None when it can. Takes nothing in."""
        with self._cursor() as cursor:
            try:
                self._read(cursor, segment)
            except PoisonedSegment as error:
                return str(error)
            if _changed(cursor, _INCOMPLETE_EVENTS):
                return "An event lacks sessionId, source, event or hash."
            return None

    def tidy(self, waiting: set[str], now_ms: int, keep_s: float | None) -> int:
        """Forget segments that are no longer in the spool, digests that are too old to matter and
        events older than `keep_s`; the number of events removed."""
        with self._cursor() as cursor:
            cursor.execute("DELETE FROM segments WHERE NOT list_contains(?, name)", [list(waiting)])
            cursor.execute("DELETE FROM batches WHERE received_at < ?", [now_ms - RESEND_WINDOW_MS])
            if keep_s is None:
                return 0
            oldest_ms = now_ms - int(keep_s * 1000)
            return _changed(cursor, "DELETE FROM events WHERE received_at < ?", [oldest_ms])

    def events(self, wanted: EventFilter) -> list[EventRecord]:
        """Matching events, newest first, `wanted.limit` at most."""
        clauses, values = ["team_id = ?"], [wanted.team_id]
        for clause, value in (
            ("session_id = ?", wanted.session_id),
            ("hash = ?", wanted.hash),
            ("received_at >= ?", wanted.since_ms),
            ("id < ?", wanted.before),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)  # type: ignore[arg-type]  # reason: bound by DuckDB
        query = (
            f"SELECT {_FIELDS} FROM events WHERE {' AND '.join(clauses)} "  # noqa: S608  # reason: our own words
            "ORDER BY id DESC LIMIT ?"
        )
        with self._cursor() as cursor:
            rows = cursor.execute(query, [*values, wanted.limit]).fetchall()
        return [record(row) for row in rows]

    def _drop_duplicates(self, cursor: duckdb.DuckDBPyConnection) -> tuple[Dropped, ...]:
        if _changed(cursor, _DUPLICATES, [RESEND_WINDOW_MS, RESEND_WINDOW_MS]) == 0:
            return ()
        dropped = tuple(Dropped(*row) for row in cursor.execute(_DUPLICATE_EVENTS).fetchall())
        cursor.execute("DELETE FROM incoming WHERE line IN (SELECT line FROM duplicates)")
        return dropped

    def _read(self, cursor: duckdb.DuckDBPyConnection, segment: Path) -> None:
        try:
            cursor.execute(_READ, [str(segment), self._max_line_bytes])
        except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
            raise PoisonedSegment(str(error)) from error
        if _changed(cursor, _INCOMPLETE_LINES):
            raise PoisonedSegment("A line lacks team, token, receivedAt, digest or events.")

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            if self._connection is None:
                raise StoreAway("The event store is not open; try again in a moment.")
            cursor = self._connection.cursor()
            self._cursors += 1
        try:
            with _translated():
                yield cursor
        finally:
            cursor.close()
            with self._lock:
                self._cursors -= 1
                self._lock.notify_all()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        broken = isinstance(error, duckdb.FatalException | duckdb.InternalException)
        raise StoreAway(str(error), reopen=broken) from error


def _changed(
    cursor: duckdb.DuckDBPyConnection, statement: str, values: list[object] | None = None
) -> int:
    """The one number that a statement answers: rows changed, or a count."""
    row = cursor.execute(statement, values or []).fetchone()
    return int(row[0]) if row else 0
