"""A small file system that tests can fill and empty."""

import os
from contextlib import suppress
from pathlib import Path

_PAGE_BYTES = 4096


class SmallDisk:
    """A mounted file system that only holds the data directory and a file that fills it."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory
        self._filler = directory / "filler"

    @property
    def free_bytes(self) -> int:
        """Free space in bytes."""
        disk = os.statvfs(self.data_dir)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Fill the disk up to `leave_bytes`; with nothing left, each write of a new page fails."""
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while (excess := self.free_bytes - leave_bytes) >= _PAGE_BYTES:
                with suppress(OSError):  # the server may use some of the space in the meantime
                    os.posix_fallocate(fd, os.fstat(fd).st_size, excess)
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Free the space that `fill` took."""
        self._filler.unlink()

    def artifact_files(self) -> set[Path]:
        """Return all files of artifacts, complete or not."""
        return {path for path in (self.data_dir / "artifacts").rglob("*") if path.is_file()}
