"""The folder where a task's archives are packed and unpacked, by one run at a time.

Runs for the same outputs wait for each other, but not for the one that they are a part of.
"""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from hitrate.client._patterns import WORK_FOLDER
from hitrate.client._task import Task
from hitrate.client.errors import HitrateError

HELD = "HITRATE_EXEC_HOLDS"
_log = logging.getLogger("hitrate.client")


@contextlib.contextmanager
def work_folder(task: Task) -> Iterator[Path]:
    """An empty folder on the outputs' disk; until it is left, another run for them waits.

    Raises HitrateError, OSError, and what filelock raises where the disk knows no locks.
    """
    folder = held_by(task)
    if str(folder) in held_above():
        raise HitrateError("this is a part of a run for the same outputs")
    folder.parent.mkdir(exist_ok=True)
    ignored = folder.parent / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
    with _held(folder.with_suffix(".lock")):
        # A run that was killed may have left something.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def held_by(task: Task) -> Path:
    """The folder of all runs for the same outputs."""
    # Tasks without outputs disturb only themselves.
    owner = sorted(task.outputs.globs) or [*task.identity(), task.key, *task.inputs.globs]
    return task.root / WORK_FOLDER / hashlib.sha256(repr(owner).encode()).hexdigest()[:16]


def held_above() -> list[str]:
    """The folders of the runs that this process is a part of."""
    return os.environ.get(HELD, "").split(os.pathsep)


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
