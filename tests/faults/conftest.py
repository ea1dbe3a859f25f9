"""Owns the small disk: a mounted tmpfs that a test may fill."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_disk import SmallDisk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 96 MiB. Where nothing may be mounted the tests skip, but never in CI."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = ["-o", "size=96m,mode=0700"]
    command = ["mount", "-t", "tmpfs", *size, "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        reason = f"a small disk cannot be mounted (root may): {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    yield SmallDisk(folder)
    # Lazily: a server that a failed test has left behind still holds files.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
