"""SQLite engine of the data directory: durability settings, transactions and schema version.

Each commit is flushed to disk before it returns. Other processes, such as the command line, may
write to the database at the same time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from hitrate.datadir import DataDir
from hitrate.errors import DatabaseError

SCHEMA_VERSION = "0004"
"""Revision of the newest migration. A test compares it with the migration scripts."""

metadata = MetaData()


@contextmanager
def map_database_errors() -> Iterator[None]:
    """Translate database driver errors. Raises DatabaseError."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseError(f"The database cannot be used now: {error.orig}.") from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction, which is on disk when the block ends.

    It holds the write lock from its start, so no other process changes what it has read. Raises
    DatabaseError after rolling back.
    """
    with map_database_errors(), engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def open_database(data_dir: Path) -> Engine:
    """Open the database of a data directory and migrate it to the newest schema.

    Raises DatabaseError if it cannot be opened, or was written by a newer release.
    """
    path = DataDir(data_dir).database
    # Unlimited connections: a read must not wait for writers that wait for the write lock.
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10}, max_overflow=-1)
    event.listen(engine, "connect", _configure)
    try:
        if _version(engine) != SCHEMA_VERSION:
            _migrate(engine)
        path.chmod(0o600)
    except (DBAPIError, OSError) as error:
        engine.dispose()
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseError(f"{path} cannot be opened: {reason}.") from error
    return engine


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    # FULL: in WAL mode, any lower level can lose acknowledged commits in a power failure.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # otherwise REPLACE could delete entries of the audit log
        "cache_size=-16000",  # 16 MB
        "wal_autocheckpoint=4000",  # pages: 16 MB
    ):
        connection.execute(f"PRAGMA {pragma}")


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        has_version_table = connection.execute(
            text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")
        ).first()
        if has_version_table is None:
            return None
        version: str | None = connection.execute(
            text("SELECT version_num FROM alembic_version")
        ).scalar()
        return version


def _migrate(engine: Engine) -> None:
    # Imported here: the import takes longer than the rest of startup, and is rarely needed.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", "hitrate.db:migrations")
    with engine.begin() as connection:
        # One transaction for all migrations: a half-migrated database could not be opened again.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseError(
                f"The database was written by a newer hitrate ({error}). "
                "Start that release, or restore the backup made before it."
            ) from error
