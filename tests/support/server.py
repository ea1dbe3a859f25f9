"""A real hitrate server as a process of its own, for tests that need one."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

Value = TypeVar("Value")

START_S = 60.0
STOP_S = 30.0


def eventually(look: Callable[[], Value], seconds: float = 30.0) -> Value:
    """What `look` returns as soon as that is true; fails when it is not within `seconds`."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    pause_s = 0.02
    while True:
        value = look()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s; last seen: {value!r}"
        pause.wait(pause_s)
        # To look again and again keeps a busy machine from getting there.
        pause_s = min(1.5 * pause_s, 0.1)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_hitrate(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The standard output of a `hitrate` command that must succeed."""
    done = try_hitrate(*arguments, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def try_hitrate(
    *arguments: str, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A finished `hitrate` command."""
    return subprocess.run(
        [sys.executable, "-m", "hitrate", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )


class Server:
    """One server on one data folder; started, killed and started again as a test likes."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.port = free_port()
        self.scheme = "http"
        self.verify: ssl.SSLContext | bool = True
        self.team = "default"
        self.token = ""
        self._http: httpx.Client | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self.out_path = data_dir.parent / f"{data_dir.name}.out"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def output(self) -> str:
        return self.out_path.read_text()

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [sys.executable, "-m", "hitrate", "serve", "--port", str(self.port)]
        command += ["--data-dir", str(self.data_dir), *self.options]
        with self.log_path.open("ab") as log, self.out_path.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=log)
        eventually(self._answers, START_S)
        if not self.token:
            self.token = self.output.split("TURBO_TOKEN=")[1].split()[0]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def create_token(self, *options: str, team: str | None = None) -> str:
        """A token as `hitrate token create` makes it."""
        return self.command("token", "create", "--team", team or self.team, *options).strip()

    def command(self, *arguments: str) -> str:
        """The output of a command on this server's data folder."""
        return run_hitrate(*arguments, "--data-dir", str(self.data_dir))

    def request(
        self, method: str, path: str, *, token: str | None = None, **options: Any
    ) -> httpx.Response:
        """An answered request, authorised unless it brings its own headers."""
        headers = {"authorization": f"Bearer {token or self.token}"}
        headers.update(options.pop("headers", {}))
        return self._client().request(method, self.url + path, headers=headers, **options)

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """All events recorded now, newest first."""
        token = filters.pop("token", None)
        events: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": 1000, **filters} | ({"cursor": cursor} if cursor else {})
            response = self.request("GET", "/v1/events", params=params, token=token)
            if response.status_code == 503:  # the store opens behind the server's back
                return []
            assert response.status_code == 200, response.text
            page = response.json()
            events += page["events"]
            cursor = page["nextCursor"]
            if cursor is None:
                return events

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        for line in self._client().get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def _client(self) -> httpx.Client:
        # Made once: each would read all the certificates there are. No connection is kept, because
        # the server may be another one at the next request.
        if self._http is None:
            none_kept = httpx.Limits(max_keepalive_connections=0)
            self._http = httpx.Client(timeout=30, verify=self.verify, limits=none_kept)
        return self._http

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.log}"
        try:
            return self._client().get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(STOP_S)
        self.process = None
        return code
