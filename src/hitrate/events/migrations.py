"""Creates the tables of the event store, and migrates files of earlier versions."""

from collections.abc import Callable

import duckdb

from hitrate import log
from hitrate.errors import EventStoreUnavailable
from hitrate.events.ingest import Durations, ingest_batches
from hitrate.events.schema import SCHEMA_VERSION, TABLES, fetch_number

MIGRATION_BATCH_SIZE = 500_000

_log = log.get_logger("events")

_HAS_VERSION_TABLE = """
SELECT count(*) FROM information_schema.tables WHERE table_name = 'schema_version'
"""

# The first release had no runs: each event had the columns of its run and sender.
_IS_FIRST_RELEASE = """
SELECT count(*) FROM information_schema.columns
WHERE table_name = 'events' AND column_name = 'session_id'
"""

_LEGACY_EVENTS_AS_INCOMING = """
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT min(id) AS line, team_id AS team, token_id AS token, received_at AS "receivedAt",
       ci, interactive, agent,
       list({'sessionId': session_id, 'source': source, 'event': event, 'hash': hash,
             'duration': duration} ORDER BY id) AS events
FROM legacy_events WHERE id > ? AND id <= ?
GROUP BY team_id, token_id, received_at, ci, interactive, agent
ORDER BY line
"""


def create_or_migrate(
    cursor: duckdb.DuckDBPyConnection,
    durations: Durations | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Bring the file to SCHEMA_VERSION in one transaction.

    A file of version 1 may lack the version; it is added. A file of the first release, which had
    no runs, is migrated. `should_stop` is polled meanwhile.

    Raises EventStoreUnavailable when `should_stop` returned True, or when a newer hitrate wrote
    the file. The file is not changed then.
    """
    cursor.execute("BEGIN")
    _check_version(cursor)
    is_first_release = fetch_number(cursor, _IS_FIRST_RELEASE) > 0
    if is_first_release:
        cursor.execute("ALTER TABLE events RENAME TO legacy_events")
    cursor.execute(TABLES)
    if is_first_release:
        _migrate_first_release(cursor, durations, should_stop)
        cursor.execute("DROP TABLE legacy_events")
    if fetch_number(cursor, "SELECT count(*) FROM schema_version") == 0:
        cursor.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
    cursor.execute("COMMIT")


def _check_version(cursor: duckdb.DuckDBPyConnection) -> None:
    if fetch_number(cursor, _HAS_VERSION_TABLE) == 0:
        return
    version = fetch_number(cursor, "SELECT coalesce(max(version), 1) FROM schema_version")
    if version > SCHEMA_VERSION:
        # Closing the connection must not write either, not even the log of a crash.
        cursor.execute("ROLLBACK")
        cursor.execute("PRAGMA disable_checkpoint_on_shutdown")
        raise EventStoreUnavailable(
            f"The event store has schema version {version}, but this version of hitrate supports "
            f"only {SCHEMA_VERSION}. Start the newer hitrate that wrote it, or restore a backup."
        )


def _migrate_first_release(
    cursor: duckdb.DuckDBPyConnection,
    durations: Durations | None,
    should_stop: Callable[[], bool],
) -> None:
    last_id = fetch_number(cursor, "SELECT coalesce(max(id), 0) FROM legacy_events")
    for after_id in range(0, last_id, MIGRATION_BATCH_SIZE):
        if should_stop():
            raise EventStoreUnavailable(
                "The migration of the event store was interrupted; it runs at the next start."
            )
        _log.info("migrating events of an earlier version", done=after_id, total=last_id)
        cursor.execute(_LEGACY_EVENTS_AS_INCOMING, [after_id, after_id + MIGRATION_BATCH_SIZE])
        ingest_batches(cursor, durations)
