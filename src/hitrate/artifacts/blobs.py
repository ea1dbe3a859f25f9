"""Artifact bodies as files in the data directory.

Each body gets a unique name that is never reused: `artifacts/TEAM_ID/019c5a1/019c5a1…`. A name
begins with the time, and bodies of the same quarter of an hour share a directory: file systems
create files much faster in the directory they used last than in one of many.

A body becomes an artifact only when the index refers to it, which happens after the flush. So a
reader gets a complete body or none. A crash can only leave a file without an index row (an orphan),
which garbage collection removes.
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

from hitrate.datadir import free_bytes
from hitrate.errors import ServiceUnavailable

_CREATE_ATTEMPTS = 3

# One call flushes all files of a group. One fsync per file would acquire the GIL and commit the
# file system's journal once per file. syncfs exists on Linux only; elsewhere each file is flushed.
_syncfs: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)

_DISK_FULL = (
    "The disk is full: the artifact was not stored. Free some disk space; uploads then work again "
    "without a restart."
)


class BlobFile(NamedTuple):
    """A file of the blob store. The index may or may not refer to it."""

    path: Path
    size_bytes: int

    @property
    def blob(self) -> str:
        return self.path.name


class BlobStore:
    """Stores artifact bodies as files. Thread-safe."""

    def __init__(self, directory: Path, min_free_bytes: int) -> None:
        self._directory = directory
        self._path_prefix = str(directory)
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._in_flight: set[str] = set()

    def open(self) -> None:
        """Create the directory if it does not exist."""
        self._directory.mkdir(parents=True, exist_ok=True)

    def path(self, team_id: str, blob: str) -> str:
        """Return the path of a body."""
        return f"{self._path_prefix}/{team_id}/{blob[:7]}/{blob}"

    def check_free_space(self, size_bytes: int) -> None:
        """Raise ServiceUnavailable if a body of this size would leave too little free space."""
        if self.free_bytes() - size_bytes < self._min_free_bytes:
            raise ServiceUnavailable(_DISK_FULL)

    def free_bytes(self) -> int:
        """Return the free disk space that unprivileged processes may use."""
        return free_bytes(self._directory)

    def writer(self, team_id: str) -> "BlobWriter":
        """Return a writer for a new body. Its file is created by the first write."""
        # Begins with the time, so that the index on the blob column grows at its end.
        blob = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
        with self._lock:
            self._in_flight.add(blob)
        return BlobWriter(self, blob, self.path(team_id, blob))

    def flush(self, writers: Sequence["BlobWriter"]) -> None:
        """Write the buffered bodies and flush them with one call. Raises ServiceUnavailable.

        Runs on its own thread: creating files on the event loop would wait for the file system's
        journal, which a flush keeps busy.
        """
        for writer in writers:
            writer.flush_buffer()
        try:
            if _syncfs is not None:
                _flush_path(self._path_prefix, _flush_file_system)
            else:
                for writer in writers:
                    _flush_path(writer.path, os.fsync)
        except OSError as error:
            raise _write_failed(error) from error

    def mark_committed(self, blob: str) -> None:
        """End the in-flight state: the index refers to the body, or its file is removed.

        From now on garbage collection treats the file like any other.
        """
        with self._lock:
            self._in_flight.discard(blob)

    def in_flight(self, blob: str) -> bool:
        """Return whether the body is still being written or committed."""
        with self._lock:
            return blob in self._in_flight

    def remove(self, team_id: str, blob: str) -> None:
        """Remove a body. Does nothing if the file does not exist."""
        Path(self.path(team_id, blob)).unlink(missing_ok=True)

    def exists(self, team_id: str, blob: str, size_bytes: int) -> bool:
        """Return whether the file exists and has this size."""
        try:
            # Called for downloads; a Path would double the cost.
            return os.stat(self.path(team_id, blob)).st_size == size_bytes  # noqa: PTH116  # reason: see above
        except FileNotFoundError:
            return False

    def scan(self) -> Iterator[BlobFile]:
        """Yield every file of the store."""
        for path in self._directory.glob("*/*/*"):
            try:
                size_bytes = path.stat().st_size
            except FileNotFoundError:
                continue
            yield BlobFile(path, size_bytes)

    def remove_empty_directories(self) -> None:
        """Remove directories whose bodies have all been removed."""
        for directory in self._directory.glob("*/*"):
            with contextlib.suppress(OSError):
                directory.rmdir()


class BlobWriter:
    """Writes one new body.

    Either `buffer` a small body, which `BlobStore.flush` writes together with others, or
    `write` a large one in chunks and call `sync_and_close`. `discard` aborts and removes the file.
    """

    __slots__ = ("_blobs", "_buffer", "_fd", "blob", "path", "size_bytes", "synced")

    def __init__(self, blobs: BlobStore, blob: str, path: str) -> None:
        self._blobs = blobs
        self._fd = -1
        self._buffer: bytes | bytearray = b""
        self.blob = blob
        self.path = path
        self.size_bytes = 0
        self.synced = False

    def write(self, data: bytes | bytearray) -> None:
        """Append to the file. Raises ServiceUnavailable if the disk is full."""
        try:
            if self._fd < 0:
                self._fd = _create(self.path)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise _write_failed(error) from error
        self.size_bytes += len(data)

    def buffer(self, data: bytes | bytearray) -> None:
        """Keep the body in memory until `BlobStore.flush`."""
        self._buffer = data
        self.size_bytes = len(data)

    def flush_buffer(self) -> None:
        """Write the buffered body and close the file, without a sync. Raises ServiceUnavailable."""
        self.size_bytes = 0
        self.write(self._buffer)
        self._buffer = b""
        self._close()

    def sync_and_close(self) -> None:
        """Sync the file to disk and close it. Slow. Raises ServiceUnavailable."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _write_failed(error) from error
        finally:
            self._close()
        self.synced = True

    def discard(self) -> None:
        """Close and remove the file, if it was created."""
        self._close()
        Path(self.path).unlink(missing_ok=True)
        self._blobs.mark_committed(self.blob)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for _ in range(_CREATE_ATTEMPTS):
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:  # no directory yet, or garbage collection just removed it
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


def _write_failed(error: OSError) -> ServiceUnavailable:
    if error.errno == errno.ENOSPC:
        return ServiceUnavailable(_DISK_FULL)
    return ServiceUnavailable(
        f"The artifact was not stored: {error.strerror}. Check the disk of the data directory."
    )
