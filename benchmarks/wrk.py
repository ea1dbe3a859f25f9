"""Runs `wrk` with the Lua scripts in `lua/` and parses the line that they print."""

import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import QUERY, Endpoint
from benchmarks.errors import MeasurementError, MissingToolError

SCRIPTS = Path(__file__).resolve().parent / "lua"
RESULT_PREFIX = "RESULT "
SEED_BITS = 24  # see sequence_start in lua/common.lua


def require_wrk() -> str:
    """Return the path of wrk. Raises MissingToolError if it is not installed."""
    path = shutil.which("wrk")
    if path is None:
        raise MissingToolError(
            "wrk, the load generator, is not on PATH. Debian and Ubuntu: apt-get install wrk. "
            "Elsewhere it builds from source with make."
        )
    return path


def new_seed() -> int:
    """Return a random seed for a script that generates unique identifiers."""
    return secrets.randbits(SEED_BITS)


@dataclass(frozen=True)
class Load:
    """A load for wrk: a script in `lua/` with its arguments, and the path to request."""

    script: str
    path: str
    arguments: tuple[str, ...]
    connections: int
    seconds: int
    threads: int = 1


@dataclass(frozen=True)
class LoadResult:
    """Result of a load. `acknowledged` is the number of 2xx responses.

    `started_at` is a time of `time.perf_counter`.
    """

    started_at: float
    acknowledged: int
    seconds: float
    bytes_read: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        return self.acknowledged / self.seconds


def run_load(endpoint: Endpoint, load: Load) -> LoadResult:
    """Run a load. Raises MeasurementError if wrk fails, or on any error or missing response."""
    command: Sequence[str] = [
        require_wrk(), f"-t{load.threads}", f"-c{load.connections}", f"-d{load.seconds}s",
        "--timeout", "20s", "-s", str(SCRIPTS / load.script),
        "-H", f"Authorization: {endpoint.authorization}",
        f"{endpoint.url}{load.path}{QUERY}", "--", *load.arguments,
    ]  # fmt: skip
    started_at = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in process.stdout.splitlines() if line.startswith(RESULT_PREFIX)]
    if process.returncode != 0 or len(lines) != 1:
        raise MeasurementError(f"wrk failed:\n{process.stdout}{process.stderr}")
    raw: dict[str, int] = json.loads(lines[0].removeprefix(RESULT_PREFIX))
    if raw["status_errors"] or raw["socket_errors"]:
        raise MeasurementError(
            f"{raw['status_errors']} of {raw['requests']} responses were errors and "
            f"{raw['socket_errors']} connections failed"
        )
    return LoadResult(
        started_at=started_at,
        acknowledged=raw["requests"],
        seconds=raw["duration_us"] / 1e6,
        bytes_read=raw["bytes"],
        p50_ms=raw["p50_us"] / 1e3,
        p99_ms=raw["p99_us"] / 1e3,
        max_ms=raw["max_us"] / 1e3,
    )
