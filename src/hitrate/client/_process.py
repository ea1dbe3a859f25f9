"""Run a command as a shell does: in the foreground, with its exit code and signals."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_FORWARDED_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # not every system has all of them
]
_SIGCHLD = getattr(signal, "SIGCHLD", None)
_NOT_FOUND, _NOT_RUNNABLE, _SIGNALLED = 127, 126, 128


class ProcessResult(NamedTuple):
    """Exit code as a shell reports it, and the `problem` if the command was not run properly."""

    exit_code: int
    problem: str | None = None


def run_command(
    command: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> ProcessResult:
    """Run a command to its end, forwarding signals that only this process receives."""
    with _forward_signals() as forwarder:
        try:
            process = subprocess.Popen(  # noqa: S603  # reason: the purpose of this module
                # Inherit open files, such as those of make's jobserver.
                command,
                cwd=directory,
                env=environment,
                close_fds=False,
            )
        except FileNotFoundError as error:
            hint = "; pass separate words, not one string" if " " in command[0] else ""
            return ProcessResult(_NOT_FOUND, f"the command was not run: {error}{hint}")
        except OSError as error:
            hint = "; are the globs quoted?" if isinstance(error, PermissionError) else ""
            return ProcessResult(_NOT_RUNNABLE, f"the command was not run: {error}{hint}")
        with process:
            forwarder.attach(process)
            code = process.wait()
    if code < 0:
        return ProcessResult(_SIGNALLED - code)
    return ProcessResult(code, forwarder.unreliable_exit_reason())


class _SignalForwarder:
    """Forwards signals to the command. A terminal sends SIGINT to the command itself."""

    def __init__(self) -> None:
        self._interrupted = False
        self._process: subprocess.Popen[bytes] | None = None
        self._pending_signals: list[int] = []

    def handle(self, number: int, _frame: FrameType | None) -> None:
        self._interrupted = True
        if number == signal.SIGINT:
            return
        if self._process is None:
            self._pending_signals.append(number)
        else:
            self._process.send_signal(number)

    def unreliable_exit_reason(self) -> str | None:
        """Return why exit code 0 may not mean success, or None."""
        if self._interrupted:
            return "it was interrupted"
        if _ignores_sigchld():
            return "its exit code is unknown, because SIGCHLD is ignored"
        return None

    def attach(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        for number in self._pending_signals:
            process.send_signal(number)


@contextmanager
def _forward_signals() -> Iterator[_SignalForwarder]:
    forwarder = _SignalForwarder()
    if threading.current_thread() is not threading.main_thread():
        yield forwarder
        return
    # Signals that this process ignores, as under nohup, stay ignored for the command.
    numbers = [
        number for number in _FORWARDED_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, forwarder.handle) for number in numbers}
    if _SIGCHLD is not None and _ignores_sigchld():
        # Otherwise the system discards the exit code before it can be read.
        before[_SIGCHLD] = signal.signal(_SIGCHLD, signal.SIG_DFL)
    try:
        yield forwarder
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignores_sigchld() -> bool:
    return _SIGCHLD is not None and signal.getsignal(_SIGCHLD) is signal.SIG_IGN
