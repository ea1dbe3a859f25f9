"""Starts and stops the servers that are compared, each on its own port and data directory."""

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.client import HOST, QUERY, Endpoint, request_status
from benchmarks.errors import MeasurementError, MissingToolError
from benchmarks.processes import process_tree

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
LOG_TAIL_LINES = 8
POLL_INTERVAL_S = 0.005
STATUS_PATH = f"/v8/artifacts/status{QUERY}"
PEER_BODY_LIMIT_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Server:
    """A running server. `start_s` is the time from spawning it to its first response."""

    pid: int
    endpoint: Endpoint
    start_s: float


@dataclass(frozen=True)
class Launch:
    """How to start a server: its command, and variables to add to the environment.

    `token` returns a token with read and write access; it is called after the first response.
    """

    command: list[str]
    environment: dict[str, str]
    token: Callable[[], str]


class Contender(Protocol):
    """A program to measure. `stores_events` is set if its `/metrics` count stored events."""

    name: str
    stores_events: bool

    def launch(self, port: int, directory: Path) -> Launch:
        """Return how to start it so that it stores everything below `directory`."""


class Hitrate:
    """hitrate as `hitrate serve` starts it, with all settings at their defaults."""

    name = "hitrate"
    stores_events = True

    def __init__(self) -> None:
        if importlib.util.find_spec("hitrate") is None:
            raise MissingToolError(
                "hitrate is not installed in this Python. Run this with the repository's "
                "virtualenv: .venv/bin/python benchmarks/run.py"
            )
        self._program = (sys.executable, "-m", "hitrate")

    def launch(self, port: int, directory: Path) -> Launch:
        serve = ["serve", "--host", HOST, "--port", str(port), "--data-dir", str(directory)]
        return Launch([*self._program, *serve], {}, partial(self._new_token, directory))

    def _new_token(self, directory: Path) -> str:
        create = ["token", "create", "--team", "default", "--data-dir", str(directory)]
        created = subprocess.run(
            [*self._program, *create],
            cwd=directory, env=self._environment(), capture_output=True, text=True,
        )  # fmt: skip
        if created.returncode != 0:
            raise MeasurementError(f"hitrate token create failed:\n{created.stderr}")
        return created.stdout.strip()

    def _environment(self) -> dict[str, str]:
        return _clean_environment()


class HitrateCheckout(Hitrate):
    """hitrate of another checkout, as the peer."""

    name = "peer"

    def __init__(self, checkout: Path) -> None:
        super().__init__()
        self._source = checkout.resolve() / "src"
        if not (self._source / "hitrate").is_dir():
            raise MissingToolError(
                f"{checkout} is not a checkout of hitrate: it has no src/hitrate."
            )

    def launch(self, port: int, directory: Path) -> Launch:
        launch = super().launch(port, directory)
        return replace(launch, environment={"PYTHONPATH": str(self._source)})

    def _environment(self) -> dict[str, str]:
        return _clean_environment() | {"PYTHONPATH": str(self._source)}


class Peer:
    """The npm package `turborepo-remote-cache` in its fastest production configuration.

    One process (it cannot use more), local storage, no logging.
    """

    name = "peer"
    stores_events = False

    def __init__(self, node: Path, entry: Path) -> None:
        self._node = node
        self._entry = entry
        self._token = secrets.token_hex(16)

    def launch(self, port: int, directory: Path) -> Launch:
        environment = {
            "NODE_ENV": "production",
            "HOST": HOST,
            "PORT": str(port),
            "TURBO_TOKEN": self._token,
            "STORAGE_PROVIDER": "local",
            "STORAGE_PATH": str(directory / "artifacts"),
            "STORAGE_PATH_USE_TMP_FOLDER": "false",
            "BODY_LIMIT": str(PEER_BODY_LIMIT_BYTES),
            "LOG_LEVEL": "silent",
            "ENABLE_STATUS_LOG": "false",
        }
        return Launch([str(self._node), str(self._entry)], environment, lambda: self._token)


@contextmanager
def running(contender: Contender, directory: Path, token: str | None = None) -> Iterator[Server]:
    """Run a server on `directory` during a `with` block.

    With a `token` the server counts as started when it responds with 200 to that token. Without
    one, any response counts and a token is created afterwards. Raises MeasurementError if the
    server does not start, or does not stop within STOP_TIMEOUT_S after SIGTERM.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    log = directory.with_suffix(".log")
    launch = contender.launch(port, directory)
    with log.open("ab") as output:
        started_at = time.perf_counter()
        process = subprocess.Popen(
            launch.command, cwd=directory, env=_clean_environment() | launch.environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_for_response(process, Endpoint(port, token or ""), 200 if token else None, log)
        start_s = time.perf_counter() - started_at
        endpoint = Endpoint(port, token or launch.token())
        yield Server(process.pid, endpoint, start_s)
    finally:
        _stop(process, contender.name)


def _wait_for_response(
    process: "subprocess.Popen[bytes]", endpoint: Endpoint, expected: int | None, log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        status = request_status(endpoint, "GET", STATUS_PATH)
        if status is not None and expected in (None, status):
            return
        time.sleep(POLL_INTERVAL_S)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    raise MeasurementError(f"the server did not respond; the end of its log:\n{tail}")


def _stop(process: "subprocess.Popen[bytes]", name: str) -> None:
    processes = process_tree(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"{name} did not stop {STOP_TIMEOUT_S} s after SIGTERM") from error
    finally:
        _, alive = psutil.wait_procs(processes, timeout=1)
        for descendant in alive:
            descendant.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _clean_environment() -> dict[str, str]:
    """Return the environment without settings of any server or of Node."""
    prefixes = ("HITRATE_", "TURBO_", "STORAGE_", "NODE_", "LOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
