"""A disk of its own that can be filled to the byte and emptied again."""

import os
from contextlib import suppress
from pathlib import Path

_PAGE_BYTES = 4096


class SmallDisk:
    """The mounted folder is the data folder, so that nothing else writes to the disk."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder
        self._filler = folder / "filler"

    @property
    def free_bytes(self) -> int:
        """Room left."""
        disk = os.statvfs(self.data_dir)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all room but so much; with nothing left every new page fails."""
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while (surplus := self.free_bytes - leave_bytes) >= _PAGE_BYTES:
                with suppress(OSError):  # the server may take some room meanwhile
                    os.posix_fallocate(fd, os.fstat(fd).st_size, surplus)
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    def artifact_files(self) -> set[Path]:
        """All files of artifacts, whole or not."""
        return {path for path in (self.data_dir / "artifacts").rglob("*") if path.is_file()}

    def spooled_bytes(self) -> int:
        """What stands in the spool."""
        return sum(path.stat().st_size for path in (self.data_dir / "spool").glob("*.ndjson"))
