"""The event store on DuckDB, the embedded default: one file, one writing process.

A segment is loaded exactly once: its rows, the digests of its batches and its own name are one
transaction. DuckDB reads the segment's file itself, outside the interpreter's lock.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from hitrate.datadir import DataDir
from hitrate.errors import EventStoreUnavailable, InvalidSegment
from hitrate.events.ingest import (
    NEW_SENDERS,
    RUN_KEY,
    WITH_SENDER,
    Durations,
    hash_key,
    ingest_batches,
    kind_names,
    note_resent,
)
from hitrate.events.models import (
    DuplicateBatch,
    EventFilter,
    EventRecord,
    LoadResult,
    OnDuplicates,
    record,
)
from hitrate.events.schema import make_tables
from hitrate.events.traffic import Transfers

_READERS_S = 5.0
_FIRST_OPENED_S = 3.0
RESEND_WINDOW_MS = 10 * 60 * 1000

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
WHERE e."sessionId" IS NULL OR e.hash IS NULL
   OR coalesce(e.source NOT IN ('LOCAL', 'REMOTE') OR e.event NOT IN ('HIT', 'MISS'), true)
"""

_SUSPECTS = """
SELECT line, "receivedAt", team, token, digest FROM incoming
WHERE digest IN (
    SELECT digest FROM incoming GROUP BY digest HAVING count(*) > 1
    UNION ALL SELECT digest FROM batches
)
ORDER BY "receivedAt", line
"""

_KEPT = """
SELECT received_at, team_id, token_id, digest FROM batches
WHERE digest IN (SELECT digest FROM incoming)
"""

_DUPLICATE_EVENTS = """
SELECT team, max("receivedAt"), sum(len(events))::BIGINT FROM again GROUP BY team
"""

_KEEP_BATCHES = """
INSERT INTO batches
SELECT team, token, digest, "receivedAt" FROM incoming
"""

# A run that goes on must know its tasks, or they would count again.
_FORGET = """
DELETE FROM events
WHERE received_at < ? AND run IN (SELECT id FROM runs WHERE ended_at < ?)
"""

_AGAIN = """
CREATE OR REPLACE TEMP TABLE again AS
SELECT * FROM incoming WHERE line IN (SELECT unnest($lines::BIGINT[]))
"""

_MOVED = {
    "moved_at": "BIGINT", "team": "VARCHAR", "token": "VARCHAR", "ci": "VARCHAR",
    "interactive": "BOOLEAN", "agent": "VARCHAR", "uploads": "BIGINT", "uploaded_bytes": "BIGINT",
    "downloads": "BIGINT", "downloaded_bytes": "BIGINT",
}  # fmt: skip

_ARRIVED = "CREATE OR REPLACE TEMP TABLE moved AS SELECT " + ", ".join(
    f"unnest(${name}::{kind}[]) AS {name}" for name, kind in _MOVED.items()
)

_KEEP_TRANSFERS = f"""
INSERT INTO transfers
SELECT moved_at, s.id, uploads, uploaded_bytes, downloads, downloaded_bytes
FROM {WITH_SENDER.format(batches="moved")}
"""

_RECORDS = f"""
SELECT e.id, e.received_at, r.session_id, {kind_names("e.kind")},
       coalesce(n.name, printf('%016x', e.hash)), e.duration, s.ci, s.interactive, s.agent,
       s.token_id
FROM (
    SELECT * FROM events
    WHERE sender IN (SELECT id FROM senders WHERE team_id = $team)
      AND id >= $start AND id < $stop {{clauses}}
    ORDER BY id DESC LIMIT $limit
) e
JOIN runs r ON r.id = e.run
JOIN senders s ON s.id = e.sender
LEFT JOIN names n ON n.team_id = $team AND n.hash = e.hash
ORDER BY e.id DESC
"""

_CLAUSES = {
    "session_id": "run IN (SELECT id FROM runs WHERE key = "
    + RUN_KEY.format(team="$team", session="$session_id")
    + " AND team_id = $team AND session_id = $session_id)",
    "hash": f"hash = {hash_key('$hash')}",
    "since_ms": "received_at >= $since_ms",
}

_WINDOW = 100_000
"""Events that are looked at first for the newest; then four times as many, and so on. Sorting all
of them takes DuckDB half a minute where there are a hundred million."""


class DuckDBEventStore:
    """Loading on one thread; queries from any. Everything may raise EventStoreUnavailable."""

    def __init__(
        self, data_dir: Path, max_line_bytes: int, durations: Durations | None = None
    ) -> None:
        """`durations` knows the artifacts' own, for remote hits that tell none."""
        self._durations = durations
        self._path = DataDir(data_dir).event_store
        self._max_line_bytes = max_line_bytes
        self._lock = threading.Condition()
        self._cursors = 0
        self._open_attempted = False
        self._connection: duckdb.DuckDBPyConnection | None = None

    def open(self, is_ending: Callable[[], bool] = lambda: False) -> None:
        """Open or create the file; does nothing when it is open. Who wants to read waits a moment
        for the first time; if that takes long, as an old file is taken over, they are told.
        `is_ending` is asked on the way whether to leave that for another time."""
        if self._connection is not None:
            return
        connection = None
        try:
            connection = self._connect(is_ending)
        finally:
            with self._lock:
                self._connection, self._open_attempted = connection, True
                self._lock.notify_all()

    def _connect(self, is_ending: Callable[[], bool]) -> duckdb.DuckDBPyConnection:
        with _translated():
            connection = duckdb.connect(
                str(self._path),
                config={
                    "memory_limit": "1GB",
                    # It works on the thread that calls it, and so at that thread's priority.
                    "threads": 1,
                    "autoinstall_known_extensions": False,
                    # A report on very many events may need more than that.
                    "temp_directory": str(self._path.with_name("spill")),
                    "max_temp_directory_size": "4GB",
                    # Each checkpoint compresses the last rows anew: fewer are cheaper.
                    "checkpoint_threshold": "64MB",
                },
            )
            try:
                make_tables(connection, self._durations, is_ending)
                self._path.chmod(0o600)
            except BaseException:
                connection.close()  # and undo what it began
                raise
        return connection

    def close(self) -> None:
        """Close the file, after whoever reads it; it may be opened again."""
        with self._lock, _translated():
            connection, self._connection = self._connection, None
            self._lock.wait_for(lambda: self._cursors == 0, _READERS_S)
            if connection is not None:
                connection.close()

    def load(
        self, segment: Path, name: str, on_duplicates: OnDuplicates | None = None
    ) -> LoadResult:
        """Take the segment's events in, once: a name that was loaded before is not again.

        `on_duplicates` hears of what had come before, and the name, at least once: a crash before
        the commit has it hear the same again.

        Raises InvalidSegment, with nothing taken in, when a line can never be read.
        """
        with self._cursor() as cursor:
            if cursor.execute("SELECT 1 FROM segments WHERE name = ?", [name]).fetchone():
                return LoadResult(0)
            self._read(cursor, segment)
            dropped = self._drop_duplicates(cursor)
            cursor.execute("BEGIN")
            totals = ingest_batches(cursor, self._durations)
            if dropped:
                note_resent(cursor)
            cursor.execute(_KEEP_BATCHES)
            cursor.execute("INSERT INTO segments VALUES (?)", [name])
            if on_duplicates is not None:
                for one in dropped:
                    on_duplicates(one, name)
            cursor.execute("COMMIT")
            return LoadResult(totals.events, dropped, totals)

    def check(self, segment: Path) -> str | None:
        """Why the segment cannot be read, or None when it can. Takes nothing in."""
        with self._cursor() as cursor:
            try:
                self._read(cursor, segment)
            except InvalidSegment as error:
                return str(error)
            if _changed(cursor, _INCOMPLETE_EVENTS):
                return "An event lacks sessionId, source, event or hash."
            return None

    def prune(self, waiting: set[str], now_ms: int, keep_s: float | None) -> int:
        """Forget segments that are no longer in the spool, digests that are too old to matter and
        events older than `keep_s` whose runs have not gone on since; the number of events removed.
        """
        with self._cursor() as cursor:
            cursor.execute("DELETE FROM segments WHERE NOT list_contains(?, name)", [list(waiting)])
            cursor.execute("DELETE FROM batches WHERE received_at < ?", [now_ms - RESEND_WINDOW_MS])
            if keep_s is None:
                return 0
            oldest_ms = now_ms - int(keep_s * 1000)
            cursor.execute("BEGIN")
            removed = _changed(cursor, _FORGET, [oldest_ms, oldest_ms])
            cursor.execute("DELETE FROM runs WHERE ended_at < ?", [oldest_ms])
            cursor.execute("DELETE FROM transfers WHERE moved_at < ?", [oldest_ms])
            cursor.execute("COMMIT")
            return removed

    def add_transfers(self, transfers: Transfers) -> None:
        """Write down what was uploaded and downloaded."""
        if not transfers:
            return
        rows = [(*route, *amounts) for route, amounts in transfers.items()]
        columns = dict(zip(_MOVED, (list(c) for c in zip(*rows, strict=True)), strict=True))
        with self._cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(_ARRIVED, columns)
            cursor.execute(NEW_SENDERS.format(batches="moved"))
            cursor.execute(_KEEP_TRANSFERS)
            cursor.execute("COMMIT")

    def events(self, wanted: EventFilter) -> list[EventRecord]:
        """Matching events, newest first, `wanted.limit` at most."""
        given = {name: value for name in _CLAUSES if (value := getattr(wanted, name)) is not None}
        clauses = "".join(f" AND {_CLAUSES[name]}" for name in given)
        values = {**given, "team": wanted.team_id}
        query = _RECORDS.format(clauses=clauses)
        rows: list[tuple[object, ...]] = []
        with self.cursor() as cursor:
            for start, stop in _windows(cursor, wanted.before):
                span = {"start": start, "stop": stop, "limit": wanted.limit - len(rows)}
                rows += cursor.execute(query, {**values, **span}).fetchall()
                if len(rows) == wanted.limit:
                    break
        return [record(row) for row in rows]

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for queries; what it reads is all of a segment or nothing of it.

        Raises EventStoreUnavailable.
        """
        with self._cursor() as cursor:
            yield cursor

    def _drop_duplicates(self, cursor: duckdb.DuckDBPyConnection) -> tuple[DuplicateBatch, ...]:
        """Move what had come before from `incoming` to `again`; how much that was."""
        lines = _find_duplicates(cursor)
        if not lines:
            return ()
        cursor.execute(_AGAIN, {"lines": lines})
        cursor.execute("DELETE FROM incoming WHERE line IN (SELECT line FROM again)")
        return tuple(DuplicateBatch(*row) for row in cursor.execute(_DUPLICATE_EVENTS).fetchall())

    def _read(self, cursor: duckdb.DuckDBPyConnection, segment: Path) -> None:
        try:
            cursor.execute(_READ, [str(segment), self._max_line_bytes])
        except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
            raise InvalidSegment(str(error)) from error
        if _changed(cursor, _INCOMPLETE_LINES):
            raise InvalidSegment("A line lacks team, token, receivedAt, digest or events.")

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            self._lock.wait_for(lambda: self._open_attempted, _FIRST_OPENED_S)
            if self._connection is None:
                raise EventStoreUnavailable("The event store is not open; try again in a moment.")
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


def _find_duplicates(cursor: duckdb.DuckDBPyConnection) -> list[int]:
    """The lines of batches that were kept less than ten minutes before or, for one that was
    loaded late, after."""
    suspects = cursor.execute(_SUSPECTS).fetchall()
    if not suspects:
        return []
    kept = defaultdict(list)
    for at_ms, *same in cursor.execute(_KEPT).fetchall():
        kept[tuple(same)].append(at_ms)
    lines = []
    for line, at_ms, *same in suspects:
        others = kept[tuple(same)]
        if any(abs(at_ms - other_ms) < RESEND_WINDOW_MS for other_ms in others):
            lines.append(line)
        else:
            others.append(at_ms)
    return lines


def _windows(cursor: duckdb.DuckDBPyConnection, before: int | None) -> Iterator[tuple[int, int]]:
    """Spans of ids from the newest down to the oldest, each four times as wide as the last."""
    [(first, last)] = cursor.execute("SELECT min(id), max(id) FROM events").fetchall()
    if last is None:
        return
    stop, width = last + 1 if before is None else min(before, last + 1), _WINDOW
    while stop > first:
        yield stop - width, stop
        stop, width = stop - width, width * 4


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        broken = isinstance(error, duckdb.FatalException | duckdb.InternalException)
        raise EventStoreUnavailable(str(error), reopen=broken) from error


def _changed(
    cursor: duckdb.DuckDBPyConnection, statement: str, values: list[object] | None = None
) -> int:
    """The one number that a statement answers: rows changed, or a count."""
    row = cursor.execute(statement, values or []).fetchone()
    return int(row[0]) if row else 0
