"""The folder where a task's archives are packed and unpacked, by one run at a time.

Runs for the same outputs wait for each other, but not for the one that they are a part of.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from hitrate.client._globs import WORK_FOLDER
from hitrate.client._task import Task
from hitrate.client.errors import HitrateError

_HELD = "HITRATE_EXEC_HOLDS"
_log = logging.getLogger("hitrate.client")


@contextlib.contextmanager
def work_folder(task: Task) -> Iterator[Path]:
    """An empty folder on the outputs' disk; until it is left, another run for them waits.

    Raises HitrateError, OSError, and what filelock raises where the disk knows no locks.
    """
    if not task.outputs.globs:  # nothing that two runs could spoil for each other
        with tempfile.TemporaryDirectory(prefix="hitrate-") as temporary:
            yield Path(temporary)
        return
    folder = task.root / WORK_FOLDER / _name(task)
    if folder.name in _held_above():
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


def variables(task: Task) -> dict[str, str]:
    """The environment of a command, which is told what it is a part of."""
    return {**os.environ, _HELD: ",".join([*_held_above(), _name(task)])}


def _name(task: Task) -> str:
    """The same for all tasks that make these outputs in this folder."""
    owner = repr((str(task.root), sorted(task.outputs.globs)))
    return hashlib.sha256(owner.encode(errors="surrogateescape")).hexdigest()[:16]


def _held_above() -> list[str]:
    return os.environ.get(_HELD, "").split(",")


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
