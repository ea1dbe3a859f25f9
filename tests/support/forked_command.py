"""`hitrate` commands in processes that are forked from one that has already imported hitrate.

Imports take most of the CPU time of a command: a server starts in 0.25 s instead of 0.8 s. Tests of
the process itself, such as its exit, run `python -m hitrate`.
"""

import multiprocessing
import os
import subprocess
import sys
import threading
from multiprocessing.connection import wait
from pathlib import Path

from hitrate.cli.main import main

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "hitrate.app.serve",
        "hitrate.cli.doctor",
        "hitrate.cli.events",
        "hitrate.cli.gc",
        "hitrate.cli.serve",
        "hitrate.cli.team",
        "hitrate.cli.token",
        "hitrate.cli.user",
        __name__,
    ]
)

_lock = threading.Lock()
"""Held while processes are started and polled: multiprocessing expects one thread."""


class ForkedCommand:
    """A running command. Its methods are those of `subprocess.Popen`."""

    def __init__(self, *arguments: str, stdout: Path, stderr: Path) -> None:
        """Start `hitrate` with `arguments`; its output is appended to two files."""
        self.args = ["hitrate", *arguments]
        self._process = _context.Process(
            target=_run, args=(self.args, dict(os.environ), stdout, stderr), daemon=True
        )
        with _lock:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, the negative signal number, or None while the command runs."""
        with _lock:
            return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait for the exit code. Raises TimeoutExpired."""
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has exited."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(arguments: list[str], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = arguments
    main()
