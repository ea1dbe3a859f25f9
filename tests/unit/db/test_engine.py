"""The schema: the code's tables are the migrations', and the version is Alembic's head."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from hitrate.artifacts import index
from hitrate.db import tables
from hitrate.db.engine import FILE_NAME, SCHEMA_VERSION, metadata, open_database
from hitrate.errors import DatabaseError


def test_the_version_in_the_code_is_the_newest_migration() -> None:
    script = ScriptDirectory(str(Path(tables.__file__).parent / "migrations"))
    assert script.get_current_head() == SCHEMA_VERSION


def test_the_tables_in_the_code_are_what_the_migrations_make(tmp_path: Path) -> None:
    assert index.ARTIFACTS.metadata is tables.TEAMS.metadata is metadata
    engine = open_database(tmp_path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_only_its_user_may_read_the_database(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


def test_a_commit_is_flushed_before_it_returns(tmp_path: Path) -> None:
    engine = open_database(tmp_path)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_a_damaged_database_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        open_database(tmp_path)


def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match="newer hitrate"):
        open_database(tmp_path)
