"""Owns the real `turbo` as a person at a terminal has it: a home folder of their own, a terminal,
and a browser that turbo opens.

Promises that turbo sees nothing of this process's environment, and that two of them never log in
at once: turbo listens for the browser on one fixed port.
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

WAIT_S = 60.0
BROWSER = """\
#!/bin/sh
printf '%s\\n' "$1" >> '{urls}'
"""


class Command:
    """A turbo that runs on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, urls: Path) -> None:
        self._process = process
        self._terminal = terminal
        self._urls = urls
        self._seen = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """What the terminal shows, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._seen.decode(errors="replace"))

    def opened(self) -> str:
        """The address that it opens in the browser."""

        def look() -> str:
            assert self._process.poll() is None, self.text
            return self._urls.read_text().strip() if self._urls.exists() else ""

        return eventually(look, WAIT_S)

    def shows(self, text: str) -> None:
        """Wait until the terminal shows this."""
        eventually(lambda: text in self.text, WAIT_S)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def finish(self) -> int:
        """Wait for its end; the exit code."""
        code = self._process.wait(WAIT_S)
        self._reader.join()
        return code

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.finish()
        os.close(self._terminal)

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._terminal, 4096)
            except OSError:  # what a terminal says when the last program on it has ended
                return
            if not chunk:
                return
            self._seen += chunk


class Turbo:
    """One person's turbo, in one repository, before one server."""

    def __init__(self, program: Path, repo: Monorepo, server: Server, home: Path) -> None:
        self.program = program
        self.repo = repo
        self.server = server
        self.home = home
        self.urls = home / "urls"
        (home / "bin").mkdir(parents=True)
        for name in ("xdg-open", "browser"):
            script = home / "bin" / name
            script.write_text(BROWSER.format(urls=self.urls))
            script.chmod(0o755)

    @contextmanager
    def start(self, *arguments: str, **environment: str) -> Iterator[Command]:
        """A turbo that is running, ended when the block ends."""
        self.urls.unlink(missing_ok=True)
        with _only_one():
            terminal, its_end = pty.openpty()
            process = subprocess.Popen(
                [str(self.program), *arguments],
                cwd=self.repo.root,
                env=self._environment() | environment,
                stdin=its_end,
                stdout=its_end,
                stderr=its_end,
                start_new_session=True,
            )
            os.close(its_end)
            command = Command(process, terminal, self.urls)
            try:
                yield command
            finally:
                command.end()

    def run(self, *arguments: str, **environment: str) -> str:
        """What a turbo shows that must succeed."""
        with self.start(*arguments, **environment) as command:
            assert command.finish() == 0, command.text
            return command.text

    def saved_token(self) -> str | None:
        """The token that a login saved."""
        found: list[str] = []
        for path in self.home.rglob("*.json"):
            content: Any = json.loads(path.read_text())
            if isinstance(content, dict) and content.get("token"):
                found.append(content["token"])
        return found[0] if found else None

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
def _only_one() -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / "hitrate-turbo-login.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
