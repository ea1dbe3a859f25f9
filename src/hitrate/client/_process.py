"""Runs a command as a shell would: in the foreground, its exit code ours."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_CAUGHT = ("SIGINT", "SIGTERM", "SIGHUP")
_NOT_FOUND, _NOT_RUNNABLE, _SIGNALLED = 127, 126, 128


class Finished(NamedTuple):
    """The exit code, as a shell gives it; `problem` if it was not run as it should have been."""

    exit_code: int
    problem: str | None = None


def run_command(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Finished:
    """Run to the end. Whoever ends us means the command; what a terminal sends, it has already."""
    with _catching() as caught:
        try:
            process = subprocess.Popen(  # noqa: S603  # reason: what we are for
                # Open files that are meant for it, such as those of make's jobserver, reach it.
                command,
                cwd=folder,
                env=environment,
                close_fds=False,
            )
        except FileNotFoundError as error:
            hint = "; give it in words, not in one text" if " " in command[0] else ""
            return Finished(_NOT_FOUND, f"the command was not run: {error}{hint}")
        except OSError as error:
            hint = "; are the globs quoted?" if isinstance(error, PermissionError) else ""
            return Finished(_NOT_RUNNABLE, f"the command was not run: {error}{hint}")
        with process:
            caught.go_to(process)
            code = process.wait()
    if code < 0:
        return Finished(_SIGNALLED - code)
    return Finished(code, "it was interrupted" if caught.came else None)


class _Caught:
    """The signals that came while a command ran; those that only we were sent go on to it."""

    def __init__(self) -> None:
        self.came = False
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def handle(self, number: int, _frame: FrameType | None) -> None:
        self.came = True
        if number == signal.SIGINT:
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def go_to(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)


@contextmanager
def _catching() -> Iterator[_Caught]:
    caught = _Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    numbers = [getattr(signal, name) for name in _CAUGHT if hasattr(signal, name)]
    before = {number: signal.signal(number, caught.handle) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
