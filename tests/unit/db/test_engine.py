"""The SQLite engine: schema version, migrations, durability settings and damaged files."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from hitrate.datadir import DataDir
from hitrate.db import tables
from hitrate.db.engine import SCHEMA_VERSION, metadata, open_database
from hitrate.errors import DatabaseError


def test_schema_version_is_the_newest_migration() -> None:
    script = ScriptDirectory(str(Path(tables.__file__).parent / "migrations"))
    assert script.get_current_head() == SCHEMA_VERSION


def test_migrations_create_the_tables_of_the_code(tmp_path: Path) -> None:
    assert tables.ARTIFACTS.metadata is tables.TEAMS.metadata is metadata
    engine = open_database(tmp_path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_database_file_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    assert (DataDir(tmp_path).database).stat().st_mode & 0o077 == 0


def test_commit_is_flushed_before_it_returns(tmp_path: Path) -> None:
    engine = open_database(tmp_path)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_opening_a_damaged_database_raises_database_error(tmp_path: Path) -> None:
    (DataDir(tmp_path).database).write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        open_database(tmp_path)


def test_opening_a_database_of_a_newer_release_raises_database_error(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    connection = sqlite3.connect(DataDir(tmp_path).database)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match="newer hitrate"):
        open_database(tmp_path)
