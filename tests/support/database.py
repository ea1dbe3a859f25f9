"""An empty database without the wait: its schema is made once and copied."""

import tempfile
from functools import cache
from pathlib import Path

from hitrate.db.engine import FILE_NAME, open_database


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        open_database(Path(folder)).dispose()
        return (Path(folder) / FILE_NAME).read_bytes()


def put_empty_database(folder: Path) -> None:
    """As the first command in a data folder leaves it."""
    (folder / FILE_NAME).write_bytes(_empty())
