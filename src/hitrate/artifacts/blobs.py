"""Artifact bodies as files below the data folder.

A body gets a name of its own, never reused: `artifacts/TEAM_ID/019c5a1/019c5a1…`. Names
begin with the time and share a folder with those of the same quarter of an hour: a file system
makes files much faster where it made the last ones than in one of many folders.

A body becomes an artifact only when the index names it, after it was flushed; so a reader sees a
whole body or none, and what a crash leaves behind is a file that no index row names, which the scan
removes.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hitrate.errors import ServiceUnavailable

_CREATE_TRIES = 3

# One call for all files of a group: a flush each would cost a turn at the interpreter's lock and a
# journal commit each. Where the C library has none (it is Linux's), files are flushed one by one.
_syncfs: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)

_FULL = "The disk is full: the artifact was not stored. Free some room; the server recovers itself."


class BlobFile(NamedTuple):
    """A file of the store, whether or not the index names it."""

    path: Path
    size_bytes: int

    @property
    def blob(self) -> str:
        return self.path.name


class BlobStore:
    """The files. Safe to use from several threads."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = str(folder)
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._in_flight: set[str] = set()

    def open(self) -> None:
        """Make the folder."""
        Path(self._folder).mkdir(parents=True, exist_ok=True)

    def path(self, team_id: str, blob: str) -> str:
        """Where a body stands."""
        return f"{self._folder}/{team_id}/{blob[:7]}/{blob}"

    def check_room(self, size_bytes: int) -> None:
        """Raises ServiceUnavailable when a body of this size would fill the disk."""
        if self.free_bytes() - size_bytes < self._min_free_bytes:
            raise ServiceUnavailable(_FULL)

    def free_bytes(self) -> int:
        """Room left on the disk for ordinary processes."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def writer(self, team_id: str) -> "BlobWriter":
        """A writer of a new file, which comes to be with its first write."""
        # Begins with the time, so that the index of names grows at its end.
        blob = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
        with self._lock:
            self._in_flight.add(blob)
        return BlobWriter(self, blob, self.path(team_id, blob))

    def flush(self, writers: Sequence["BlobWriter"]) -> None:
        """Put the bodies that the writers hold on the disk, all at once. Raises ServiceUnavailable.

        Called on a thread of its own: making files on the event loop would wait for the journal
        that a flush keeps busy.
        """
        for writer in writers:
            writer.write_held()
        try:
            if _syncfs is not None:
                _flush_path(self._folder, _flush_file_system)
            else:
                for writer in writers:
                    _flush_path(writer.path, os.fsync)
        except OSError as error:
            raise _cannot_store(error) from error

    def settle(self, blob: str) -> None:
        """The file is in the index now, or gone: the scan may judge it again."""
        with self._lock:
            self._in_flight.discard(blob)

    def in_flight(self, blob: str) -> bool:
        """Whether the file is still being written or committed."""
        with self._lock:
            return blob in self._in_flight

    def remove(self, team_id: str, blob: str) -> None:
        """Remove a file; one that is gone already is no error."""
        Path(self.path(team_id, blob)).unlink(missing_ok=True)

    def has(self, team_id: str, blob: str, size_bytes: int) -> bool:
        """Whether the file is there, whole."""
        try:
            # Asked for each download; a Path would cost as much again.
            return os.stat(self.path(team_id, blob)).st_size == size_bytes  # noqa: PTH116  # reason: see above
        except FileNotFoundError:
            return False

    def scan(self) -> Iterator[BlobFile]:
        """Every file there is."""
        for path in Path(self._folder).glob("*/*/*"):
            try:
                size_bytes = path.stat().st_size
            except FileNotFoundError:
                continue
            yield BlobFile(path, size_bytes)

    def remove_empty_folders(self) -> None:
        """Remove the folders of times that nothing is left of."""
        for folder in Path(self._folder).glob("*/*"):
            with contextlib.suppress(OSError):
                folder.rmdir()


class BlobWriter:
    """A file that is being written: by `hold`, for `BlobStore.flush` to write it together with
    others, or by `write` and `seal`. `discard` ends it without a trace."""

    __slots__ = ("_blobs", "_fd", "_held", "blob", "path", "sealed", "size_bytes")

    def __init__(self, blobs: BlobStore, blob: str, path: str) -> None:
        self._blobs = blobs
        self._fd = -1
        self._held: bytes | bytearray = b""
        self.blob = blob
        self.path = path
        self.size_bytes = 0
        self.sealed = False

    def write(self, data: bytes | bytearray) -> None:
        """Append. Raises ServiceUnavailable on a full disk."""
        try:
            if self._fd < 0:
                self._fd = _create(self.path)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise _cannot_store(error) from error
        self.size_bytes += len(data)

    def hold(self, data: bytes | bytearray) -> None:
        """Keep the whole body in memory until `BlobStore.flush`."""
        self._held = data
        self.size_bytes = len(data)

    def write_held(self) -> None:
        """Write what was held, and close. Raises ServiceUnavailable."""
        self.size_bytes = 0
        self.write(self._held)
        self._held = b""
        self._close()

    def seal(self) -> None:
        """Flush this file to the disk and close it. May take long. Raises ServiceUnavailable."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _cannot_store(error) from error
        finally:
            self._close()
        self.sealed = True

    def discard(self) -> None:
        """Leave no trace."""
        self._close()
        Path(self.path).unlink(missing_ok=True)
        self._blobs.settle(self.blob)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for _ in range(_CREATE_TRIES):
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:  # the first of its folder, or that was just removed as empty
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, flags, 0o600)


def _flush_path(path: str, flush: Callable[[int], None]) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        flush(fd)
    finally:
        os.close(fd)


def _flush_file_system(fd: int) -> None:
    if _syncfs is not None and _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _cannot_store(error: OSError) -> ServiceUnavailable:
    return ServiceUnavailable(
        _FULL if error.errno == errno.ENOSPC else f"Not stored: {error.strerror}."
    )
