"""Runs a command as a shell would: in the foreground, its exit code ours."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_CAUGHT = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # not every system has all
]
_CHILD_ENDED = getattr(signal, "SIGCHLD", None)
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
    return Finished(code, caught.doubt())


class _Caught:
    """The signals that came while a command ran; those that only we were sent go on to it."""

    def __init__(self) -> None:
        self._came = False
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def handle(self, number: int, _frame: FrameType | None) -> None:
        self._came = True
        if number == signal.SIGINT:
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def doubt(self) -> str | None:
        """Why the exit code may not tell whether the command has done its work."""
        if self._came:
            return "it was interrupted"
        if _ignores_ends():
            return "its exit code is unknown, because SIGCHLD is ignored"
        return None

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
    # What we were told to ignore, as by nohup, the command is to ignore as well.
    numbers = [number for number in _CAUGHT if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, caught.handle) for number in numbers}
    if _CHILD_ENDED is not None and _ignores_ends():
        # Else the system forgets the exit code before we can ask for it.
        before[_CHILD_ENDED] = signal.signal(_CHILD_ENDED, signal.SIG_DFL)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignores_ends() -> bool:
    return _CHILD_ENDED is not None and signal.getsignal(_CHILD_ENDED) is signal.SIG_IGN
