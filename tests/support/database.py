"""An empty database without the wait: its schema is made once and copied."""

import tempfile
from functools import cache
from pathlib import Path

from hitrate.datadir import DataDir
from hitrate.db.engine import open_database


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        open_database(Path(folder)).dispose()
        return (DataDir(Path(folder)).database).read_bytes()


def put_empty_database(folder: Path) -> None:
    """As the first command in a data folder leaves it."""
    (DataDir(folder).database).write_bytes(_empty())
