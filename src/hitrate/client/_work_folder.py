"""The folder where a task's archives are packed and unpacked, by one run at a time."""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from hitrate.client._patterns import WORK_FOLDER
from hitrate.client._task import Task

_log = logging.getLogger("hitrate.client")


@contextlib.contextmanager
def work_folder(task: Task) -> Iterator[Path]:
    """An empty folder on the outputs' disk; until it is left, another run for them waits.

    Raises OSError, and NotImplementedError where the disk knows no locks.
    """
    top = task.root / WORK_FOLDER
    top.mkdir(exist_ok=True)
    ignored = top / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
    # Tasks without outputs disturb only themselves.
    owner = task.outputs.texts or task.identity()
    folder = top / hashlib.sha256(repr(owner).encode()).hexdigest()[:16]
    with _held(folder.with_suffix(".lock")):
        # A run that was killed may have left something.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        _log.warning("waiting for another run that makes the same outputs")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
