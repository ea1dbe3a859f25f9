"""`python benchmarks/analytics.py`: measure analytics queries on a year of generated events.

All queries go over HTTP to a server whose event store holds the generated events. The first
request of each kind is not counted; the result is the median of the others.
"""

import argparse
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    # Replaces this directory, whose modules must only be importable as `benchmarks.…`.
    sys.path[0] = str(ROOT)

from benchmarks.history import generate_year
from benchmarks.servers import Hitrate, Server, running
from hitrate.datadir import DataDir
from hitrate.events.store import DuckDBEventStore

CACHE = ROOT / ".cache"
EMAIL, PASSWORD = "reader@example.com", "a password for a benchmark"
MAX_LINE_BYTES = 2**22
MAX_RUN_DETAIL_MS = 50.0
MAX_BYTES_PER_EVENT = 24.0

EXIT_PASSED, EXIT_MISSED = 0, 1


@dataclass(frozen=True)
class Query:
    """A GET request to measure. `limit_ms` is the target for its median, None for no target.

    `signed_in` requests come from a browser session, the others use a token.
    """

    name: str
    path: str
    limit_ms: float | None = None
    signed_in: bool = False


@dataclass(frozen=True)
class Measurement:
    """A measured value and its target; `limit` None means no target."""

    name: str
    value: float
    unit: str
    limit: float | None

    @property
    def missed(self) -> bool:
        return self.limit is not None and self.value > self.limit


QUERIES = (
    Query("summary, 30 days", "/v1/analytics/summary?since=30d", 100),
    Query("time series by day, 30 days", "/v1/analytics/timeseries?since=30d", 100),
    *(
        Query(f"breakdown by {by}, 30 days", f"/v1/analytics/breakdown?since=30d&by={by}", 100)
        for by in ("ci", "interactive", "agent", "token", "user")
    ),
    Query("overview page, 30 days", "/teams/default?since=30d", 300, signed_in=True),
    Query("newest 100 runs", "/v1/runs?since=30d"),
    Query("worst 100 runs, 30 days", "/v1/runs?since=30d&order=worst"),
    Query("summary, a year", "/v1/analytics/summary?since=365d"),
    Query("time series by day, a year", "/v1/analytics/timeseries?since=365d"),
    Query("newest 100 events", "/v1/events"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if every target is reached, else 1."""
    args = _parser().parse_args(arguments)
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="analytics-", dir=CACHE) as name:
        data_dir = DataDir(Path(name) / "data")
        team_id = _create_data_dir(data_dir)
        events = _fill_event_store(data_dir, team_id, args.events, args.events_file)
        bytes_per_event = data_dir.event_store.stat().st_size / events
        measurements = [
            *_measure(data_dir, team_id, args.times),
            Measurement("disk space per event", bytes_per_event, "bytes", MAX_BYTES_PER_EVENT),
        ]
    return _print_report(events, measurements)


def _create_data_dir(data_dir: DataDir) -> str:
    """Create a data directory with the team `default` and a member; return the team's id."""
    with running(Hitrate(), data_dir.path):
        pass
    subprocess.run(
        [sys.executable, "-m", "hitrate", "user", "create", EMAIL, "--team", "default",
         "--password-stdin", "--data-dir", str(data_dir.path)],
        input=PASSWORD, text=True, check=True, capture_output=True,
    )  # fmt: skip
    with sqlite3.connect(data_dir.database) as database:
        [(team_id,)] = database.execute("SELECT id FROM teams")
    return str(team_id)


def _fill_event_store(
    data_dir: DataDir, team_id: str, events: int, events_file: Path | None
) -> int:
    """Generate the events, or copy them from `events_file`; return their number."""
    store = DuckDBEventStore(data_dir.path, MAX_LINE_BYTES)
    if events_file is not None and events_file.is_file():
        shutil.copyfile(events_file, data_dir.event_store)
        return _assign_events(store, team_id)
    store.open()
    generated = generate_year(store, team_id, events, time.time_ns() // 1_000_000)
    store.close()
    if events_file is not None:
        shutil.copyfile(data_dir.event_store, events_file)
    return generated


def _assign_events(store: DuckDBEventStore, team_id: str) -> int:
    """Assign all events, generated for another team, to this team; return their number."""
    store.open()
    with store.cursor() as cursor:
        for table in ("runs", "senders"):
            cursor.execute(f"UPDATE {table} SET team_id = ?", [team_id])
        cursor.execute("UPDATE runs SET key = md5_number_lower(team_id || '/' || session_id)")
        [(events,)] = cursor.execute("SELECT sum(events) FROM runs").fetchall()
    store.close()
    return int(events)


def _measure(data_dir: DataDir, team_id: str, times: int) -> Iterator[Measurement]:
    sessions = _sample_sessions(data_dir, team_id, times + 1)
    with running(Hitrate(), data_dir.path) as server, _clients(server) as (api, browser):
        for query in QUERIES:
            client = browser if query.signed_in else api
            durations = [_request_ms(client, query.path) for _ in range(times + 1)][1:]
            yield Measurement(query.name, statistics.median(durations), "ms", query.limit_ms)
        durations = [_request_ms(api, f"/v1/runs/{session}") for session in sessions][1:]
        yield Measurement(
            "one run with its tasks", statistics.median(durations), "ms", MAX_RUN_DETAIL_MS
        )


def _sample_sessions(data_dir: DataDir, team_id: str, count: int) -> list[str]:
    """Return sessions spread over the whole year: run keys are hashes, so their order is random."""
    store = DuckDBEventStore(data_dir.path, MAX_LINE_BYTES)
    store.open()
    with store.cursor() as cursor:
        rows = cursor.execute(
            "SELECT session_id FROM runs WHERE team_id = ? ORDER BY key LIMIT ?", [team_id, count]
        ).fetchall()
    store.close()
    return [session for (session,) in rows]


@contextmanager
def _clients(server: Server) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Open an API client with a token, and a browser client that is signed in."""
    headers = {"authorization": server.endpoint.authorization}
    url = server.endpoint.url
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as api,
        httpx.Client(base_url=url, headers={"accept": "text/html"}, timeout=60) as browser,
    ):
        token = re.search(r'name="form_token" value="(\w+)"', browser.get("/login").text)
        assert token is not None
        form = {"form_token": token[1], "email": EMAIL, "password": PASSWORD, "next": "/"}
        assert browser.post("/login", data=form).status_code == 303
        yield api, browser


def _request_ms(client: httpx.Client, path: str) -> float:
    started_at = time.perf_counter()
    response = client.get(path)
    duration_ms = (time.perf_counter() - started_at) * 1000
    assert response.status_code == 200, response.text[:300]
    return duration_ms


def _print_report(events: int, measurements: Sequence[Measurement]) -> int:
    print(f"{events:,} events in a year")
    for each in measurements:
        limit = "" if each.limit is None else f"≤ {each.limit:g}"
        verdict = "" if each.limit is None else "MISS" if each.missed else "pass"
        print(f"{each.name:32} {each.value:8.1f} {each.unit:6} {limit:8} {verdict}")
    return EXIT_MISSED if any(each.missed for each in measurements) else EXIT_PASSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/analytics.py",
        description="Measure analytics queries on a year of generated events.",
    )
    parser.add_argument(
        "--events", type=int, default=100_000_000,
        help="number of events to generate (default: 100 million)",
    )  # fmt: skip
    parser.add_argument(
        "--times", type=int, default=15, help="requests per query (default %(default)s)"
    )
    parser.add_argument(
        "--events-file", type=Path, metavar="PATH",
        help="event store of an earlier run to use; created if it does not exist",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
