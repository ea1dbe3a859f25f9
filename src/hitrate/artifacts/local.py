"""Artifact bodies as files below the data folder.

A body gets a name of its own, never reused: `artifacts/TEAM_ID/ab/abcdef…`. It becomes an artifact
only when the index names it, after it was flushed; so a reader sees a whole body or none, and what
a crash leaves behind is a file that no index row names, which the scan removes.
"""

import errno
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hitrate.errors import Unavailable

_FULL = "The disk is full: the artifact was not stored. Free some room; the server recovers itself."


class BlobFile(NamedTuple):
    """A file of the store, whether or not the index names it."""

    team_id: str
    blob: str
    size_bytes: int


class LocalBlobs:
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
        return f"{self._folder}/{team_id}/{blob[:2]}/{blob}"

    def check_room(self, size_bytes: int) -> None:
        """Raises Unavailable when a body of this size would fill the disk."""
        if self.free_bytes() - size_bytes < self._min_free_bytes:
            raise Unavailable(_FULL)

    def free_bytes(self) -> int:
        """Room left on the disk for ordinary processes."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def writer(self, team_id: str) -> "BlobWriter":
        """A writer of a new file, which comes to be with its first write."""
        blob = secrets.token_hex(16)
        with self._lock:
            self._in_flight.add(blob)
        return BlobWriter(self, blob, self.path(team_id, blob))

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
            yield BlobFile(path.parts[-3], path.name, size_bytes)


class BlobWriter:
    """A file that is being written. Ends with `seal` or `discard`; every call may block."""

    __slots__ = ("_blobs", "_fd", "_path", "blob", "size_bytes")

    def __init__(self, blobs: LocalBlobs, blob: str, path: str) -> None:
        self._blobs = blobs
        self._path = path
        self._fd = -1
        self.blob = blob
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Append. Raises Unavailable on a full disk."""
        try:
            if self._fd < 0:
                self._fd = _create(self._path)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise _cannot_store(error) from error
        self.size_bytes += len(data)

    def seal(self) -> None:
        """Flush to the disk and close. Raises Unavailable."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _cannot_store(error) from error
        finally:
            self._close()

    def discard(self) -> None:
        """Leave no trace."""
        self._close()
        Path(self._path).unlink(missing_ok=True)
        self._blobs.settle(self.blob)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _cannot_store(error: OSError) -> Unavailable:
    return Unavailable(_FULL if error.errno == errno.ENOSPC else f"Not stored: {error.strerror}.")
