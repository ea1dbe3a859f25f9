"""A hitrate server in a separate process, and helpers to run commands and to poll."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.database import put_empty_database
from tests.support.forked_command import ForkedCommand

Value = TypeVar("Value")

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 60.0


def eventually(condition: Callable[[], Value], seconds: float = 30.0) -> Value:
    """Poll until `condition` returns a true value, and return it. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    pause_s = 0.02
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s; last value: {value!r}"
        pause.wait(pause_s)
        # Frequent polling would slow down what it waits for on a busy machine.
        pause_s = min(1.5 * pause_s, 0.1)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_hitrate(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run a `hitrate` command that must succeed, and return its standard output."""
    process = try_hitrate(*arguments, env=env)
    assert process.returncode == 0, process.stderr
    return process.stdout


def try_hitrate(
    *arguments: str, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a `hitrate` command, and return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "hitrate", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        env={**os.environ, **(env or {})},
    )


class Server:
    """A server on one data directory, which can be started, stopped and killed repeatedly."""

    new_interpreter = False
    """Whether to start `python -m hitrate`, and not a fork of a process that has imported it."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.port = free_port()
        self.scheme = "http"
        self.verify: ssl.SSLContext | bool = True
        self.team = "default"
        self.token = ""
        self._http: httpx.Client | None = None
        self.process: subprocess.Popen[bytes] | ForkedCommand | None = None
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self.output_path = data_dir.parent / f"{data_dir.name}.out"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def start(self) -> None:
        """Start the server, and return when it responds."""
        if not self.data_dir.exists():
            # Creating the tables would take a fifth of the time.
            self.data_dir.mkdir(parents=True, mode=0o700)
            put_empty_database(self.data_dir)
        command = ["serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        self.process = self._start_process(*command, *self.options)
        eventually(self._is_alive, START_TIMEOUT_S)
        if not self.token:
            self.token = self.output.split("TURBO_TOKEN=")[1].split()[0]

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        return self._signal_and_wait(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal_and_wait(signal.SIGKILL)

    def create_token(self, *options: str, team: str | None = None) -> str:
        """Create a token with `hitrate token create`."""
        return self.command("token", "create", "--team", team or self.team, *options).strip()

    def command(self, *arguments: str) -> str:
        """Run a command on the server's data directory, and return its output."""
        with tempfile.TemporaryDirectory() as directory:
            stdout, stderr = Path(directory, "stdout"), Path(directory, "stderr")
            options = ("--data-dir", str(self.data_dir))
            command = ForkedCommand(*arguments, *options, stdout=stdout, stderr=stderr)
            assert command.wait(COMMAND_TIMEOUT_S) == 0, stderr.read_text()
            return stdout.read_text()

    def request(
        self, method: str, path: str, *, token: str | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request with the server's token, unless `token` or `headers` replace it."""
        headers = {"authorization": f"Bearer {token or self.token}"}
        headers.update(options.pop("headers", {}))
        return self._client().request(method, self.url + path, headers=headers, **options)

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """Return all recorded events, newest first."""
        token = filters.pop("token", None)
        events: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": 1000, **filters} | ({"cursor": cursor} if cursor else {})
            response = self.request("GET", "/v1/events", params=params, token=token)
            if response.status_code == 503:  # the event store opens in the background
                return []
            assert response.status_code == 200, response.text
            page = response.json()
            events += page["events"]
            cursor = page["nextCursor"]
            if cursor is None:
                return events

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        for line in self._client().get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def _start_process(self, *arguments: str) -> subprocess.Popen[bytes] | ForkedCommand:
        if not self.new_interpreter:
            return ForkedCommand(*arguments, stdout=self.output_path, stderr=self.log_path)
        with self.log_path.open("ab") as log, self.output_path.open("ab") as output:
            command = [sys.executable, "-m", "hitrate", *arguments]
            return subprocess.Popen(command, stdout=output, stderr=log)

    def _client(self) -> httpx.Client:
        # It keeps no connection, because the server may have been restarted before the next
        # request. With TLS, its creation reads all CA certificates.
        if self._http is None:
            verify = self.verify if self.scheme == "https" else False
            no_reuse = httpx.Limits(max_keepalive_connections=0)
            self._http = httpx.Client(timeout=30, verify=verify, limits=no_reuse)
        return self._http

    def _is_alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server has exited: {self.log}"
        try:
            return self._client().get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def _signal_and_wait(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(STOP_TIMEOUT_S)
        self.process = None
        return code
