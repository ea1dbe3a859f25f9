"""Runs a command as a shell would: in the foreground, its exit code ours."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_FORWARDED = ("SIGTERM", "SIGHUP")
_NOT_FOUND, _NOT_RUNNABLE, _SIGNALLED = 127, 126, 128


def run_command(command: Sequence[str], folder: Path) -> tuple[int, str | None]:
    """The exit code, as a shell gives it, and why the command could not be started, if so."""
    try:
        process = subprocess.Popen(command, cwd=folder)  # noqa: S603  # reason: what we are for
    except FileNotFoundError as error:
        return _NOT_FOUND, str(error)
    except OSError as error:
        return _NOT_RUNNABLE, str(error)
    with process, _signals_go_to(process):
        code = process.wait()
    return (_SIGNALLED - code if code < 0 else code), None


@contextmanager
def _signals_go_to(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Whoever ends us means the command; what a terminal sends, it has got already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    def leave_it(_number: int, _frame: FrameType | None) -> None:
        pass

    numbers = [getattr(signal, name) for name in _FORWARDED if hasattr(signal, name)]
    before = {number: signal.signal(number, forward) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, leave_it)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
