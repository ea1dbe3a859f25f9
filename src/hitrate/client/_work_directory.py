"""Work directory in which a task's archives are packed and unpacked, by one run at a time.

Runs for the same outputs wait for each other, except for a run that contains them.
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

from hitrate.client._globs import WORK_DIR
from hitrate.client._task import Task
from hitrate.client.errors import HitrateError

_HELD_VARIABLE = "HITRATE_EXEC_HOLDS"
_log = logging.getLogger("hitrate.client")


@contextlib.contextmanager
def work_directory(task: Task) -> Iterator[Path]:
    """Provide an empty directory on the outputs' disk; other runs for the same outputs wait.

    Raises HitrateError, OSError, and filelock's errors if the disk does not support locks.
    """
    if not task.outputs.globs:  # without outputs, runs cannot disturb each other
        with tempfile.TemporaryDirectory(prefix="hitrate-") as temporary:
            yield Path(temporary)
        return
    directory = task.root / WORK_DIR / _name(task)
    if directory.name in _held_by_parents():
        raise HitrateError("this run is part of another run for the same outputs")
    directory.parent.mkdir(exist_ok=True)
    gitignore = directory.parent / ".gitignore"
    if not gitignore.exists():
        gitignore.write_text("*\n")
    with _locked(directory.with_suffix(".lock")):
        # A killed run may have left files.
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def command_environment(task: Task) -> dict[str, str]:
    """Return the environment of a command, with the work directories held by its parents."""
    return {**os.environ, _HELD_VARIABLE: ",".join([*_held_by_parents(), _name(task)])}


def _name(task: Task) -> str:
    """Return a name shared by all tasks with these outputs in this directory."""
    owner = repr((str(task.root), sorted(task.outputs.globs)))
    return hashlib.sha256(owner.encode(errors="surrogateescape")).hexdigest()[:16]


def _held_by_parents() -> list[str]:
    return os.environ.get(_HELD_VARIABLE, "").split(",")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        _log.warning("waiting for another run for the same outputs")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
