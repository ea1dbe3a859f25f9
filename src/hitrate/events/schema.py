"""The tables of the event store, and how an older file becomes one of today's.

An event is a narrow row of numbers: its run, who sent it and its hash are each told once. `runs`
keeps what the events of each run add up to, exactly; only `intake.py` writes either.
"""

from collections.abc import Callable

import duckdb

from hitrate import log
from hitrate.errors import EventStoreUnavailable
from hitrate.events.ingest import Durations, ingest_batches

_log = log.get_logger("events")

TABLES = """
CREATE SEQUENCE IF NOT EXISTS event_ids;
CREATE SEQUENCE IF NOT EXISTS run_ids;
CREATE SEQUENCE IF NOT EXISTS sender_ids;
-- Who sends batches: every combination of token and what a client says of itself.
CREATE TABLE IF NOT EXISTS senders (
    id INTEGER NOT NULL,
    team_id VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    ci VARCHAR,
    interactive BOOLEAN,
    agent VARCHAR
);
-- `key` finds a run by its team and session; `sender` is that of its first batch.
CREATE TABLE IF NOT EXISTS runs (
    id BIGINT NOT NULL,
    key UBIGINT NOT NULL,
    team_id VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    sender INTEGER NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    local_hits BIGINT NOT NULL,
    remote_hits BIGINT NOT NULL,
    local_ms BIGINT NOT NULL,
    remote_ms BIGINT NOT NULL,
    events BIGINT NOT NULL,
    repeats BIGINT NOT NULL,
    anomalies BIGINT NOT NULL,
    resent BIGINT NOT NULL
);
-- `made_ms`: of a remote hit that told no duration, the one stored with the artifact.
CREATE TABLE IF NOT EXISTS events (
    id BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    sender INTEGER NOT NULL,
    run BIGINT NOT NULL,
    kind UTINYINT NOT NULL,
    hash UBIGINT NOT NULL,
    duration DOUBLE,
    made_ms DOUBLE
);
-- The text of a hash that is not 16 hexadecimal digits.
CREATE TABLE IF NOT EXISTS names (
    team_id VARCHAR NOT NULL,
    hash UBIGINT NOT NULL,
    name VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS transfers (
    moved_at BIGINT NOT NULL,
    sender INTEGER NOT NULL,
    uploads BIGINT NOT NULL,
    uploaded_bytes BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    downloaded_bytes BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    team_id VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (name VARCHAR NOT NULL);
"""

_OLD_TABLE = """
SELECT count(*) FROM information_schema.columns
WHERE table_name = 'events' AND column_name = 'session_id'
"""

_SLICE = 500_000

_INCOMING_OF_OLD = """
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT min(id) AS line, team_id AS team, token_id AS token, received_at AS "receivedAt",
       ci, interactive, agent,
       list({'sessionId': session_id, 'source': source, 'event': event, 'hash': hash,
             'duration': duration} ORDER BY id) AS events
FROM events_of_0_1 WHERE id > ? AND id <= ?
GROUP BY team_id, token_id, received_at, ci, interactive, agent
ORDER BY line
"""


def make_tables(
    cursor: duckdb.DuckDBPyConnection,
    durations: Durations | None = None,
    is_ending: Callable[[], bool] = lambda: False,
) -> None:
    """Make what is not there; a file of the first release is taken over, whole or not at all.

    Raises EventStoreUnavailable where that was under way as `is_ending` became true.
    """
    cursor.execute("BEGIN")
    [(old,)] = cursor.execute(_OLD_TABLE).fetchall()
    if old:
        cursor.execute("ALTER TABLE events RENAME TO events_of_0_1")
    cursor.execute(TABLES)
    if old:
        _take_over(cursor, durations, is_ending)
        cursor.execute("DROP TABLE events_of_0_1")
    cursor.execute("COMMIT")


def _take_over(
    cursor: duckdb.DuckDBPyConnection, durations: Durations | None, is_ending: Callable[[], bool]
) -> None:
    [(last,)] = cursor.execute("SELECT coalesce(max(id), 0) FROM events_of_0_1").fetchall()
    for start in range(0, last, _SLICE):
        if is_ending():
            raise EventStoreUnavailable(
                "The events of an earlier release are taken over at the next start."
            )
        _log.info("taking over the events of an earlier release", done=start, of=last)
        cursor.execute(_INCOMING_OF_OLD, [start, start + _SLICE])
        ingest_batches(cursor, durations)
