"""The disk that both servers write to: folders for their data, and waiting until it is at rest."""

import itertools
import os
import tempfile
import time
from pathlib import Path

PROBE_FILES = 50
PROBE_INTERVAL_S = 5
SLOW_FILE_S = 150e-6
INODES_LIMIT_S = 90


def new_folder(parent: Path) -> Path:
    """A folder for one server's data. It stays until the run ends: see `wait_for_inodes`."""
    return Path(tempfile.mkdtemp(prefix="server-", dir=parent)) / "data"


def settle() -> None:
    """Write out what earlier work left in memory, so that the next measurement does not pay."""
    os.sync()


def wait_for_inodes(parent: Path) -> None:
    """Wait while the disk is slow at making files because many were removed lately.

    ext4 does not use an inode again within a minute or so of its removal and looks at each such
    inode anew for every file it makes, ten times the cost of a file. It would be charged to
    whoever makes files next.
    """
    deadline = time.monotonic() + INODES_LIMIT_S
    probe = Path(tempfile.mkdtemp(prefix="probe-", dir=parent))
    for number in itertools.count():
        began_at = time.perf_counter()
        for file in range(PROBE_FILES):
            (probe / f"{number}-{file}").touch()
        file_s = (time.perf_counter() - began_at) / PROBE_FILES
        if file_s < SLOW_FILE_S or time.monotonic() > deadline:
            return
        time.sleep(PROBE_INTERVAL_S)
