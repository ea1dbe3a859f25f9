"""Quarantine: the directory for batches that can never be loaded, each with the reason.

A batch is moved here, not deleted, so that the operator can repair the line and move the file back
into the spool.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from hitrate import log
from hitrate.events.spool import sync_directory

_LEGACY_DIRECTORY_NAME = "rejected"
_REASON_SUFFIX = ".reason.txt"
_BATCH_SUFFIX = ".ndjson"

_log = log.get_logger("events")

Validate = Callable[[Path], str | None]
"""Returns why a segment file cannot be loaded, or None if it can."""


class QuarantinedBatch(msgspec.Struct):
    """The name of a file in the quarantine, and why its batch could not be loaded."""

    file: str
    reason: str


class Quarantine:
    """The quarantine of one spool. Only the loader writes to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._legacy_directory = directory.with_name(_LEGACY_DIRECTORY_NAME)

    def open(self) -> None:
        """Move the files that an earlier version quarantined in `spool/rejected` here."""
        if self._legacy_directory.is_dir():
            self.directory.mkdir(exist_ok=True)
            for path in self._legacy_directory.iterdir():
                path.rename(self.directory / path.name)
            self._legacy_directory.rmdir()
            sync_directory(self.directory)
            sync_directory(self.directory.parent)

    def batches(self) -> list[QuarantinedBatch]:
        """List the quarantined batches, oldest first.

        A reason without its batch is ignored: the operator has deleted the batch or moved it back.
        """
        reasons = [
            path
            for directory in (self._legacy_directory, self.directory)
            for path in directory.glob("*" + _REASON_SUFFIX)
            if _batch_path(path).exists()
        ]
        return [
            QuarantinedBatch(
                _batch_path(path).name,
                path.read_text(encoding="utf-8").strip(),
            )
            for path in sorted(reasons, key=lambda path: path.name)
        ]

    def extract_invalid_lines(self, segment: Path, validate: Validate) -> tuple[list[bytes], int]:
        """Write each invalid line of a segment to the quarantine, durably.

        Returns the valid lines, and the number of invalid ones. The segment does not change.
        """
        lines = segment.read_bytes().splitlines(keepends=True)
        reasons = _find_invalid_lines(lines, validate)
        self.directory.mkdir(exist_ok=True)
        for number, reason in reasons.items():
            stem = f"{segment.stem}-{number}"
            (self.directory / (stem + _BATCH_SUFFIX)).write_bytes(lines[number])
            (self.directory / (stem + _REASON_SUFFIX)).write_text(reason + "\n", encoding="utf-8")
            _log.error("batch quarantined", batch=stem, reason=reason)
        os.sync()
        sync_directory(self.directory)
        return [line for number, line in enumerate(lines) if number not in reasons], len(reasons)


def _batch_path(reason: Path) -> Path:
    """Return the path of the batch that a reason belongs to."""
    return reason.with_name(reason.name.removesuffix(_REASON_SUFFIX) + _BATCH_SUFFIX)


def _find_invalid_lines(lines: list[bytes], validate: Validate, first: int = 0) -> dict[int, str]:
    """Map the numbers of invalid lines to reasons, by bisection. `first` numbers the first line."""
    with segment_file(lines) as path:
        reason = validate(path)
    if reason is None:
        return {}
    if len(lines) == 1:
        return {first: reason}
    middle = len(lines) // 2
    return _find_invalid_lines(lines[:middle], validate, first) | _find_invalid_lines(
        lines[middle:], validate, first + middle
    )


@contextmanager
def segment_file(lines: list[bytes]) -> Iterator[Path]:
    """Create a temporary file of these lines, which DuckDB can read like a segment."""
    fd, name = tempfile.mkstemp(suffix=_BATCH_SUFFIX)
    path = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(lines)
        yield path
    finally:
        path.unlink()
