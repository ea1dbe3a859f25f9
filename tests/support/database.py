"""Empty SQLite databases, copied from one that is created once."""

import tempfile
from functools import cache
from pathlib import Path

from hitrate.datadir import DataDir
from hitrate.db.engine import open_database


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        open_database(Path(directory)).dispose()
        return DataDir(Path(directory)).database.read_bytes()


def put_empty_database(data_dir: Path) -> None:
    """Create the database that the first command in a data directory leaves."""
    DataDir(data_dir).database.write_bytes(_empty_database())
