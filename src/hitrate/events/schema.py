"""Tables of the event store, their version, and SQL for the values in them.

`events` has narrow rows: a run, a sender and a hash are numbers. `runs` has the exact totals of
each run. Only `ingest.py` adds rows to either.
"""

import duckdb

from hitrate.events.outcomes import KINDS

SCHEMA_VERSION = 1
"""The version that this program creates and reads. Increase it with every change of TABLES, and
add the migration to `migrations.py`."""

TABLES = """
CREATE SEQUENCE IF NOT EXISTS event_ids;
CREATE SEQUENCE IF NOT EXISTS run_ids;
CREATE SEQUENCE IF NOT EXISTS sender_ids;
-- One row.
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL);
-- The senders of batches: each combination of a token and the client's description of itself.
CREATE TABLE IF NOT EXISTS senders (
    id INTEGER NOT NULL,
    team_id VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    ci VARCHAR,
    interactive BOOLEAN,
    agent VARCHAR
);
-- `key` is the hash of team and session. `sender` is the sender of the first batch. `resent` counts
-- events in duplicate batches.
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
-- `duration` is as sent. `made_ms` is the duration of the artifact, for remote hits sent without.
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
-- The text of each hash that is not 16 hexadecimal digits.
CREATE TABLE IF NOT EXISTS names (
    team_id VARCHAR NOT NULL,
    hash UBIGINT NOT NULL,
    name VARCHAR NOT NULL
);
-- Uploads and downloads of a sender in a minute.
CREATE TABLE IF NOT EXISTS transfers (
    moved_at BIGINT NOT NULL,
    sender INTEGER NOT NULL,
    uploads BIGINT NOT NULL,
    uploaded_bytes BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    downloaded_bytes BIGINT NOT NULL
);
-- Digests of recent batches, to find duplicates.
CREATE TABLE IF NOT EXISTS batches (
    team_id VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    received_at BIGINT NOT NULL
);
-- Loaded segments whose files may still be in the spool.
CREATE TABLE IF NOT EXISTS segments (name VARCHAR NOT NULL);
"""

_HEX_64_BITS = "'[0-9a-f]{16}'"


def is_hex_hash(text: str) -> str:
    """Return SQL for whether a hash is 16 hexadecimal digits, the form that turbo uses."""
    return f"regexp_full_match({text}, {_HEX_64_BITS})"


def hex_hash_key(text: str) -> str:
    """Return SQL for the `events.hash` of 16 hexadecimal digits: their value."""
    return f"('0x' || {text})::UBIGINT"


def other_hash_key(text: str) -> str:
    """Return SQL for the `events.hash` of any other text."""
    return f"md5_number_lower({text})"


def hash_key(text: str) -> str:
    """Return SQL for the `events.hash` of a hash."""
    key = f"WHEN {is_hex_hash(text)} THEN {hex_hash_key(text)} ELSE {other_hash_key(text)}"
    return f"CASE {key} END"


def run_key(team: str, session: str) -> str:
    """Return SQL for the `runs.key` of a team and a session."""
    return f"md5_number_lower({team} || '/' || {session})"


def kind_names(kind: str) -> str:
    """Return SQL for the two columns source and event of an `events.kind`."""
    return ", ".join(
        f"CASE {kind} "
        + " ".join(f"WHEN {value} THEN '{pair[column]}'" for value, pair in enumerate(KINDS))
        + " END"
        for column in (0, 1)
    )


def fetch_number(
    cursor: duckdb.DuckDBPyConnection, statement: str, parameters: object = None
) -> int:
    """Return the single number in a result: a value, or the number of changed rows."""
    row = cursor.execute(statement, parameters).fetchone()
    return int(row[0]) if row else 0
