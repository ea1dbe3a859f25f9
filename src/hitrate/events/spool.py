"""Spool: a directory of append-only NDJSON segments, written before a batch is acknowledged.

One thread writes. It writes and flushes the lines of all waiting requests together. A crash may
leave a torn last line, which was never acknowledged; it is truncated at the next start. `rotate`
closes the open segment. A closed segment never changes and belongs to the loader.
"""

import errno
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hitrate import log
from hitrate.clock import Clock
from hitrate.datadir import free_bytes
from hitrate.errors import ServiceUnavailable
from hitrate.group_commit import GroupCommitter

SUFFIX = ".ndjson"
MAX_SEGMENT_BYTES = 64 * 2**20
RESERVE_BYTES = 16 * 2**20
"""Free space that the spool leaves, so that the event store can load the segments."""

_SPACE_CHECK_INTERVAL_S = 0.1
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_DSYNC
_DISK_FULL = (
    "The disk is full: the events were not stored. Free some space; the server then recovers."
)

_log = log.get_logger("events")


SpoolPosition = tuple[str, int]
"""The name of a segment, and the offset of a line's end in it. Positions compare by age."""


class SpoolStats(NamedTuple):
    """The segments that are not loaded yet, and the age of the oldest."""

    segments: int
    size_bytes: int
    oldest_s: float


class _Line:
    """A batch to write, and its position after it is written."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = ("", 0)


class _Segment:
    """The open segment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # DSYNC: a write returns when the data is on disk, in one system call instead of two.
        self.fd = os.open(path, _FLAGS, 0o600)
        self.size_bytes = 0

    def append(self, data: bytes) -> None:
        """Write and flush all of `data`, or raise OSError and leave the file unchanged."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:
            os.ftruncate(self.fd, self.size_bytes)
            raise
        self.size_bytes += len(data)


class Spool:
    """The spool of one directory. `append` runs on the event loop, the rest on any thread."""

    def __init__(self, directory: Path, clock: Clock, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._directory = directory
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._current: _Segment | None = None
        self._last_error: str | None = None
        self._last_segment_ms = 0
        self._space_checked_until = 0.0
        self._committer: GroupCommitter[_Line] = GroupCommitter("spool", self._write)

    def open(self) -> None:
        """Create the directory, truncate torn lines and start the writer."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._segments():
            _truncate_torn_line(path)
        self._committer.open()

    def close(self) -> None:
        """Write the waiting lines and close the open segment."""
        self._committer.close()
        self.rotate()

    async def append(self, line: bytes) -> SpoolPosition:
        """Write a line and return its position when it is on disk.

        Positions only increase. Raises ServiceUnavailable if the line could not be stored.
        """
        pending = _Line(line)
        await self._committer.submit(pending)
        return pending.position

    def lines_after(self, position: SpoolPosition) -> Iterator[tuple[SpoolPosition, bytes]]:
        """Iterate over the lines of closed segments after a position, each with its own."""
        for path in self.closed():
            if path.name >= position[0]:
                end = 0
                with path.open("rb") as file:
                    for line in file:
                        end += len(line)
                        if (path.name, end) > position:
                            yield (path.name, end), line

    @property
    def directory(self) -> Path:
        """The directory of the segments."""
        return self._directory

    def rotate(self) -> None:
        """Close the open segment, if there is one."""
        with self._lock:
            self._close_current()

    def closed(self) -> list[Path]:
        """List the closed segments, oldest first."""
        with self._lock:
            current = self._current
            return [p for p in self._segments() if current is None or p != current.path]

    def stats(self) -> SpoolStats:
        """Measure the segments that are not loaded yet."""
        sizes, oldest_ms = [], None
        for path in self._segments():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:  # loaded meanwhile
                continue
            oldest_ms = oldest_ms or int(path.name.split("-")[0])
        age_s = 0.0 if oldest_ms is None else max(0.0, (self._clock.now_ms() - oldest_ms) / 1000)
        return SpoolStats(len(sizes), sum(sizes), age_s)

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*" + SUFFIX))

    def _write(self, lines: list[_Line]) -> None:
        with self._lock:
            try:
                self._check_free_space()
                segment = self._current or self._new_segment()
                end = segment.size_bytes
                segment.append(b"".join([line.data for line in lines]))
            except OSError as error:
                self._close_current()
                self._log_state_change(str(error))
                raise ServiceUnavailable(
                    _DISK_FULL if error.errno == errno.ENOSPC else f"Not stored: {error.strerror}."
                ) from error
            self._log_state_change(None)
            for line in lines:
                end += len(line.data)
                line.position = (segment.path.name, end)
            if segment.size_bytes >= MAX_SEGMENT_BYTES:
                self._close_current()

    def _log_state_change(self, error: str | None) -> None:
        """Log when writing starts to fail and when it works again, not each failed request."""
        if error is not None and self._last_error is None:
            _log.error("spool not writable; events are rejected", reason=error)
        elif error is None and self._last_error is not None:
            _log.info("spool writable again")
        self._last_error = error

    def _check_free_space(self) -> None:
        if time.monotonic() < self._space_checked_until:
            return
        if free_bytes(self._directory) < self._reserve_bytes:
            raise OSError(errno.ENOSPC, "less free space than the event store may need")
        self._space_checked_until = time.monotonic() + _SPACE_CHECK_INTERVAL_S

    def _new_segment(self) -> _Segment:
        # Names sort by age, even if the clock does not advance.
        self._last_segment_ms = max(self._clock.now_ms(), self._last_segment_ms + 1)
        name = f"{self._last_segment_ms:013d}-{secrets.token_hex(4)}{SUFFIX}"
        self._current = _Segment(self._directory / name)
        sync_directory(self._directory)
        return self._current

    def _close_current(self) -> None:
        segment, self._current = self._current, None
        if segment is not None:
            os.close(segment.fd)
            if segment.size_bytes == 0:
                segment.path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Flush the entries of a directory to disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _truncate_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            _log.warning("torn line truncated", segment=path.name, bytes=size - end)
            file.truncate(end)
            os.fsync(file.fileno())
    if end == 0:
        path.unlink()
