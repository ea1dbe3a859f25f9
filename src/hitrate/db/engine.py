"""The relational store: teams, tokens and the artifact index. SQLite in the data folder.

Owns the engine, its durability settings and the schema's version. Every commit is flushed to
disk before it returns, and other processes (the command line) may write at the same time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from hitrate.errors import DatabaseError

FILE_NAME = "hitrate.sqlite"

SCHEMA_VERSION = "0003"
"""The newest migration; a test holds it equal to what Alembic finds."""

metadata = MetaData()


@contextmanager
def map_database_errors() -> Iterator[None]:
    """Turns the engine's errors into DatabaseError."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseError(f"The database cannot be used now: {error.orig}.") from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction, on disk when the block ends. Raises DatabaseError; nothing changed then.

    The only one that writes from its first moment on: what it reads stays true until it ends.
    """
    with map_database_errors(), engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def open_database(data_dir: Path) -> Engine:
    """An engine on the data folder's database, its schema brought up to date."""
    path = data_dir / FILE_NAME
    # As many connections as are asked for: who reads must not wait for those who wait to write.
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
    # FULL: in WAL mode anything less would lose acknowledged commits in a power cut.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # else a REPLACE would remove entries of the audit log
        "cache_size=-16000",  # 16 MB
        "wal_autocheckpoint=4000",  # pages: 16 MB
    ):
        connection.execute(f"PRAGMA {pragma}")


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        known = connection.execute(
            text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")
        ).first()
        if known is None:
            return None
        version: str | None = connection.execute(
            text("SELECT version_num FROM alembic_version")
        ).scalar()
        return version


def _migrate(engine: Engine) -> None:
    # Imported here: it takes longer than the rest of a start and is needed once a release.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", "hitrate.db:migrations")
    with engine.begin() as connection:
        # Whole or not at all, and one process at a time: the rest of a half would be in the way.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseError(
                f"The database was written by a newer hitrate ({error}). "
                "Start that release, or restore the backup made before it."
            ) from error
