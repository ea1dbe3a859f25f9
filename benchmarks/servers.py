"""Start and stop of the two servers that are compared, each on a port and a folder of its own."""

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

from benchmarks.client import HOST, QUERY, Endpoint, status_of
from benchmarks.errors import MeasurementError, MissingToolError
from benchmarks.processes import tree_of

START_LIMIT_S = 60
STOP_LIMIT_S = 30
LOG_TAIL_LINES = 8
POLL_INTERVAL_S = 0.005
STATUS_PATH = f"/v8/artifacts/status{QUERY}"
PEER_BODY_LIMIT_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Server:
    """A server that has answered. `start_s`: from its spawn to its first answer."""

    pid: int
    endpoint: Endpoint
    start_s: float


@dataclass(frozen=True)
class Launch:
    """How to start a server: what to run, and what to add to the environment.

    `token` gives a token that may read and write; it is called after the server's first answer.
    """

    command: list[str]
    environment: dict[str, str]
    token: Callable[[], str]


class Contender(Protocol):
    """One of the programs compared. `keeps_events`: its `/metrics` says what became of them."""

    name: str
    keeps_events: bool

    def launch(self, port: int, folder: Path) -> Launch:
        """How to start it so that everything it stores goes below `folder`."""


class Hitrate:
    """hitrate as `hitrate serve` starts it, with every setting at its default."""

    name = "hitrate"
    keeps_events = True

    def __init__(self) -> None:
        if importlib.util.find_spec("hitrate") is None:
            raise MissingToolError(
                "hitrate is not installed in this Python. Run this with the repository's "
                "virtualenv: .venv/bin/python benchmarks/run.py"
            )
        self._program = (sys.executable, "-m", "hitrate")

    def launch(self, port: int, folder: Path) -> Launch:
        serve = ["serve", "--host", HOST, "--port", str(port), "--data-dir", str(folder)]
        return Launch([*self._program, *serve], {}, partial(self._new_token, folder))

    def _new_token(self, folder: Path) -> str:
        create = ["token", "create", "--team", "default", "--data-dir", str(folder)]
        done = subprocess.run(
            [*self._program, *create],
            cwd=folder, env=self._environment(), capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise MeasurementError(f"hitrate token create failed:\n{done.stderr}")
        return done.stdout.strip()

    def _environment(self) -> dict[str, str]:
        return _clean_environment()


class Before(Hitrate):
    """hitrate from another checkout, in the peer's place: what a change costs."""

    name = "peer"

    def __init__(self, checkout: Path) -> None:
        super().__init__()
        self._source = checkout.resolve() / "src"
        if not (self._source / "hitrate").is_dir():
            raise MissingToolError(f"{checkout} is no checkout of hitrate: it has no src/hitrate.")

    def launch(self, port: int, folder: Path) -> Launch:
        launch = super().launch(port, folder)
        return replace(launch, environment={"PYTHONPATH": str(self._source)})

    def _environment(self) -> dict[str, str]:
        return _clean_environment() | {"PYTHONPATH": str(self._source)}


class Peer:
    """The npm package `turborepo-remote-cache` in its fastest production setting: one process,
    local storage, no logging. It offers no way to use more than one process."""

    name = "peer"
    keeps_events = False

    def __init__(self, node: Path, entry: Path) -> None:
        self._node = node
        self._entry = entry
        self._token = secrets.token_hex(16)

    def launch(self, port: int, folder: Path) -> Launch:
        environment = {
            "NODE_ENV": "production",
            "HOST": HOST,
            "PORT": str(port),
            "TURBO_TOKEN": self._token,
            "STORAGE_PROVIDER": "local",
            "STORAGE_PATH": str(folder / "artifacts"),
            "STORAGE_PATH_USE_TMP_FOLDER": "false",
            "BODY_LIMIT": str(PEER_BODY_LIMIT_BYTES),
            "LOG_LEVEL": "silent",
            "ENABLE_STATUS_LOG": "false",
        }
        return Launch([str(self._node), str(self._entry)], environment, lambda: self._token)


@contextmanager
def running(contender: Contender, folder: Path, token: str | None = None) -> Iterator[Server]:
    """A server on `folder` that lives as long as the `with` block.

    With a `token` the first answer is a 200 to that token; without one, any answer counts and a
    token is asked for afterwards. Raises MeasurementError when the server does not come up, or
    does not go down within STOP_LIMIT_S of SIGTERM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    log = folder.with_suffix(".log")
    launch = contender.launch(port, folder)
    with log.open("ab") as output:
        spawned_at = time.perf_counter()
        process = subprocess.Popen(
            launch.command, cwd=folder, env=_clean_environment() | launch.environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_for_answer(process, Endpoint(port, token or ""), 200 if token else None, log)
        start_s = time.perf_counter() - spawned_at
        endpoint = Endpoint(port, token or launch.token())
        yield Server(process.pid, endpoint, start_s)
    finally:
        _stop(process, contender.name)


def _wait_for_answer(
    process: "subprocess.Popen[bytes]", endpoint: Endpoint, wanted: int | None, log: Path
) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        status = status_of(endpoint, "GET", STATUS_PATH)
        if status is not None and wanted in (None, status):
            return
        time.sleep(POLL_INTERVAL_S)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    raise MeasurementError(f"the server did not answer; its log ends:\n{tail}")


def _stop(process: "subprocess.Popen[bytes]", name: str) -> None:
    family = tree_of(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"{name} did not stop {STOP_LIMIT_S} s after SIGTERM") from error
    finally:
        _, left = psutil.wait_procs(family, timeout=1)
        for survivor in left:
            survivor.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _clean_environment() -> dict[str, str]:
    """The environment without settings that someone exported for either server or for Node."""
    foreign = ("HITRATE_", "TURBO_", "STORAGE_", "NODE_", "LOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
