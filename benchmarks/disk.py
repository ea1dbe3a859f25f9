"""The disk that the servers write to: data directories, and waiting until it is idle."""

import itertools
import os
import tempfile
import time
from pathlib import Path

PROBE_FILES = 50
PROBE_INTERVAL_S = 5
SLOW_CREATION_S = 150e-6
INODES_TIMEOUT_S = 90


def new_directory(parent: Path) -> Path:
    """Create a directory for a server's data.

    Nothing removes it before the run ends, for the reason given in `wait_for_inodes`.
    """
    return Path(tempfile.mkdtemp(prefix="server-", dir=parent)) / "data"


def sync() -> None:
    """Write dirty pages to disk, so that the next measurement does not pay for them."""
    os.sync()


def wait_for_inodes(parent: Path) -> None:
    """Wait while creating files is slow because many were recently removed.

    ext4 does not reuse an inode for about a minute after its removal, but checks all such inodes
    for each file that it creates, which makes creation ten times as expensive. The next
    measurement would pay for that.
    """
    deadline = time.monotonic() + INODES_TIMEOUT_S
    probe = Path(tempfile.mkdtemp(prefix="probe-", dir=parent))
    for number in itertools.count():
        started_at = time.perf_counter()
        for index in range(PROBE_FILES):
            (probe / f"{number}-{index}").touch()
        creation_s = (time.perf_counter() - started_at) / PROBE_FILES
        if creation_s < SLOW_CREATION_S or time.monotonic() > deadline:
            return
        time.sleep(PROBE_INTERVAL_S)
