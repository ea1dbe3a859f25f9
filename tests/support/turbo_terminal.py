"""The real `turbo` on a terminal, with a home directory and a fake browser of its own.

turbo does not inherit the environment of the tests. A file lock prevents concurrent logins, because
turbo listens for the browser on a fixed port.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.monorepo import Monorepo
from tests.support.server import Server, eventually

TIMEOUT_S = 60.0
BROWSER_SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$1" >> '{urls}'
"""


class TurboProcess:
    """A running turbo."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, urls: Path) -> None:
        self._process = process
        self._terminal = terminal
        self._urls = urls
        self._output = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """The terminal output without colors."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._output.decode(errors="replace"))

    def opened_url(self) -> str:
        """Wait until turbo opens the browser, and return the URL."""

        def read_url() -> str:
            assert self._process.poll() is None, self.text
            return self._urls.read_text().strip() if self._urls.exists() else ""

        return eventually(read_url, TIMEOUT_S)

    def wait_for_text(self, text: str) -> None:
        """Wait until the terminal output contains a text."""
        eventually(lambda: text in self.text, TIMEOUT_S)

    def type_keys(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait(self) -> int:
        """Wait for the process to exit and return the exit code."""
        code = self._process.wait(TIMEOUT_S)
        self._reader.join()
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        os.close(self._terminal)

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._terminal, 4096)
            except OSError:  # raised when the last process on the terminal has exited
                return
            if not chunk:
                return
            self._output += chunk


class TurboTerminal:
    """The turbo of one user, in one repository, configured for one server."""

    def __init__(self, program: Path, repo: Monorepo, server: Server, home: Path) -> None:
        self.program = program
        self.repo = repo
        self.server = server
        self.home = home
        self.urls = home / "urls"
        (home / "bin").mkdir(parents=True)
        for name in ("xdg-open", "browser"):
            script = home / "bin" / name
            script.write_text(BROWSER_SCRIPT.format(urls=self.urls))
            script.chmod(0o755)

    @contextmanager
    def start(self, *arguments: str, **environment: str) -> Iterator[TurboProcess]:
        """Start turbo; it is killed at the end of the block."""
        self.urls.unlink(missing_ok=True)
        with _login_lock():
            terminal, child_terminal = pty.openpty()
            process = subprocess.Popen(
                [str(self.program), *arguments],
                cwd=self.repo.root,
                env=self._environment() | environment,
                stdin=child_terminal,
                stdout=child_terminal,
                stderr=child_terminal,
                start_new_session=True,
            )
            os.close(child_terminal)
            command = TurboProcess(process, terminal, self.urls)
            try:
                yield command
            finally:
                command.kill()

    def run(self, *arguments: str, **environment: str) -> str:
        """Run turbo, require that it succeeds, and return its output."""
        with self.start(*arguments, **environment) as command:
            assert command.wait() == 0, command.text
            return command.text

    def saved_token(self) -> str | None:
        """Return the token that a login has saved; None if there is none."""
        saved: list[str] = []
        for path in self.home.rglob("*.json"):
            content: Any = json.loads(path.read_text())
            if isinstance(content, dict) and content.get("token"):
                saved.append(content["token"])
        return saved[0] if saved else None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.pathsep.join(
                [str(self.home / "bin"), str(self.repo.root / "bin"), os.environ["PATH"]]
            ),
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "BROWSER": str(self.home / "bin" / "browser"),
            "TERM": "xterm",
            "TURBO_API": self.server.url,
            "TURBO_LOGIN": self.server.url,
            "TURBO_TELEMETRY_DISABLED": "1",
            "TURBO_NO_UPDATE_NOTIFIER": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }


@contextmanager
def _login_lock() -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / "hitrate-turbo-login.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
