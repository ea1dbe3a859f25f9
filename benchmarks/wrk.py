"""Runs `wrk` with the Lua scripts beside this module and reads the line they print."""

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
RESULT_MARK = "RESULT "
SEED_BITS = 24  # what lua/common.lua leaves for it


def require_wrk() -> str:
    """The path of wrk; raises MissingToolError when it is not installed."""
    found = shutil.which("wrk")
    if found is None:
        raise MissingToolError(
            "wrk, the load generator, is not on PATH. Debian and Ubuntu: apt-get install wrk. "
            "Elsewhere it builds from source with make."
        )
    return found


def new_seed() -> int:
    """A seed for a script that makes unique identifiers; two runs never share theirs."""
    return secrets.randbits(SEED_BITS)


@dataclass(frozen=True)
class Load:
    """What wrk shall do: `script` from the lua folder, with `arguments`, against `path`."""

    script: str
    path: str
    arguments: tuple[str, ...]
    connections: int
    seconds: int
    threads: int = 1


@dataclass(frozen=True)
class LoadResult:
    """What wrk saw. `began_at`: on the clock of `time.perf_counter`. `acked`: requests answered
    with 2xx."""

    began_at: float
    acked: int
    seconds: float
    bytes_read: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        return self.acked / self.seconds


def run_load(endpoint: Endpoint, load: Load) -> LoadResult:
    """Raises MeasurementError when wrk fails, or any answer was an error or did not come."""
    command: Sequence[str] = [
        require_wrk(), f"-t{load.threads}", f"-c{load.connections}", f"-d{load.seconds}s",
        "--timeout", "20s", "-s", str(SCRIPTS / load.script),
        "-H", f"Authorization: {endpoint.authorization}",
        f"{endpoint.url}{load.path}{QUERY}", "--", *load.arguments,
    ]  # fmt: skip
    began_at = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(RESULT_MARK)]
    if done.returncode != 0 or len(lines) != 1:
        raise MeasurementError(f"wrk failed:\n{done.stdout}{done.stderr}")
    raw: dict[str, int] = json.loads(lines[0].removeprefix(RESULT_MARK))
    if raw["status_errors"] or raw["socket_errors"]:
        raise MeasurementError(
            f"{raw['status_errors']} of {raw['requests']} answers were errors and "
            f"{raw['socket_errors']} connections failed"
        )
    return LoadResult(
        began_at=began_at,
        acked=raw["requests"],
        seconds=raw["duration_us"] / 1e6,
        bytes_read=raw["bytes"],
        p50_ms=raw["p50_us"] / 1e3,
        p99_ms=raw["p99_us"] / 1e3,
        max_ms=raw["max_us"] / 1e3,
    )
