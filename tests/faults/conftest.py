"""Fixture of the fault tests: a small disk, which is a mounted tmpfs."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_disk import SmallDisk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a disk of 96 MiB. Skips the test if mounting is not permitted, except in CI."""
    directory = tmp_path / "disk"
    directory.mkdir()
    size = ["-o", "size=96m,mode=0700"]
    command = ["mount", "-t", "tmpfs", *size, "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        reason = f"cannot mount a small disk (needs root): {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    yield SmallDisk(directory)
    # Lazily, because a server that a failed test left running still has open files.
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
