"""Measures what people and programs read, over HTTP, from a server whose events.duckdb holds a
year of generated events. The first request of each kind is not counted; medians are shown."""

from __future__ import annotations

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

from benchmarks.history import fill
from benchmarks.servers import Hitrate, Server, running
from hitrate.datadir import DataDir
from hitrate.events.store import DuckDBEventStore

CACHE = Path(__file__).resolve().parent.parent / ".cache"
PERSON, PASSWORD = "reader@example.com", "a password for a benchmark"
BYTES_AN_EVENT = 24.0


@dataclass(frozen=True)
class Reading:
    """Something that is read; `limit_ms` is the most that its median may take, if any."""

    name: str
    path: str
    limit_ms: float | None = None
    signed_in: bool = False


READINGS = (
    Reading("summary, 30 days", "/v1/usage/summary?since=30d", 100),
    Reading("timeseries by day, 30 days", "/v1/usage/timeseries?since=30d", 100),
    *(
        Reading(f"breakdown by {by}, 30 days", f"/v1/usage/breakdown?since=30d&by={by}", 100)
        for by in ("ci", "interactive", "agent", "token", "user")
    ),
    Reading("the overview page, 30 days", "/teams/default?since=30d", 300, signed_in=True),
    Reading("newest 100 runs", "/v1/runs?since=30d"),
    Reading("worst 100 runs, 30 days", "/v1/runs?since=30d&order=worst"),
    Reading("summary, a year", "/v1/usage/summary?since=365d"),
    Reading("timeseries by day, a year", "/v1/usage/timeseries?since=365d"),
    Reading("newest 100 events", "/v1/events"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every target reached; 1: one was missed."""
    asked = _parser().parse_args(arguments)
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reading-", dir=CACHE) as name:
        folder = Path(name) / "data"
        team_id = _make_folder(folder)
        store = DuckDBEventStore(folder, 2**22)
        if asked.events_file is not None and asked.events_file.is_file():
            shutil.copyfile(asked.events_file, DataDir(folder).event_store)
            events = _adopt(store, team_id)
        else:
            store.open()
            events = fill(store, team_id, asked.events, time.time_ns() // 1_000_000)
            store.close()
            if asked.events_file is not None:
                shutil.copyfile(DataDir(folder).event_store, asked.events_file)
        size = (DataDir(folder).event_store).stat().st_size / events
        rows = [*_measure(folder, team_id, asked.times), ("disk for an event", size, None)]
    return _report(events, rows)


def _make_folder(folder: Path) -> str:
    """A data folder with the team `default` and a person of it; the team's id."""
    with running(Hitrate(), folder):
        pass
    subprocess.run(
        [sys.executable, "-m", "hitrate", "user", "create", PERSON, "--team", "default",
         "--password-stdin", "--data-dir", str(folder)],
        input=PASSWORD, text=True, check=True, capture_output=True,
    )  # fmt: skip
    with sqlite3.connect(folder / "hitrate.sqlite") as database:
        [(team_id,)] = database.execute("SELECT id FROM teams")
    return str(team_id)


def _adopt(store: DuckDBEventStore, team_id: str) -> int:
    """Make the events of an older run those of this folder's team; how many there are."""
    store.open()
    with store.cursor() as cursor:
        for table in ("runs", "senders"):
            cursor.execute(f"UPDATE {table} SET team_id = ?", [team_id])
        cursor.execute("UPDATE runs SET key = md5_number_lower(team_id || '/' || session_id)")
        [(events,)] = cursor.execute("SELECT sum(events) FROM runs").fetchall()
    store.close()
    return int(events)


def _measure(folder: Path, team_id: str, times: int) -> Iterator[tuple[str, float, float | None]]:
    sessions = _some_sessions(folder, team_id, times + 1)
    with running(Hitrate(), folder) as server, _clients(server) as (program, person):
        for reading in READINGS:
            client = person if reading.signed_in else program
            took = [_took_ms(client, reading.path) for _ in range(times + 1)][1:]
            yield reading.name, statistics.median(took), reading.limit_ms
        took = [_took_ms(program, f"/v1/runs/{session}") for session in sessions][1:]
        yield "a run with its tasks", statistics.median(took), 50.0


def _some_sessions(folder: Path, team_id: str, count: int) -> list[str]:
    """Runs from all over the year: keys are as good as random."""
    store = DuckDBEventStore(folder, 2**22)
    store.open()
    with store.cursor() as cursor:
        rows = cursor.execute(
            "SELECT session_id FROM runs WHERE team_id = ? ORDER BY key LIMIT ?", [team_id, count]
        ).fetchall()
    store.close()
    return [session for (session,) in rows]


@contextmanager
def _clients(server: Server) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A program with a token, and a person who is signed in."""
    headers = {"authorization": server.endpoint.authorization}
    url = server.endpoint.url
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as program,
        httpx.Client(base_url=url, headers={"accept": "text/html"}, timeout=60) as person,
    ):
        found = re.search(r'name="form_token" value="(\w+)"', person.get("/login").text)
        assert found is not None
        form = {"form_token": found[1], "email": PERSON, "password": PASSWORD, "next": "/"}
        assert person.post("/login", data=form).status_code == 303
        yield program, person


def _took_ms(client: httpx.Client, path: str) -> float:
    begin = time.perf_counter()
    answer = client.get(path)
    took = (time.perf_counter() - begin) * 1000
    assert answer.status_code == 200, answer.text[:300]
    return took


def _report(events: int, rows: Sequence[tuple[str, float, float | None]]) -> int:
    missed = 0
    print(f"{events:,} events in a year")
    for name, value, limit in rows:
        unit = "ms"
        if name.startswith("disk"):
            unit, limit = "bytes", BYTES_AN_EVENT
        verdict = "" if limit is None else ("pass" if value <= limit else "MISS")
        missed += verdict == "MISS"
        bound = "" if limit is None else f"≤ {limit:g}"
        print(f"{name:32} {value:8.1f} {unit:6} {bound:8} {verdict}")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/analytics.py",
        description="Measures what analytics answer, with a year of generated events.",
    )
    parser.add_argument(
        "--events", type=int, default=100_000_000, help="how many (default: 100 million)"
    )
    parser.add_argument("--times", type=int, default=15, help="requests of each kind")
    parser.add_argument(
        "--events-file", type=Path, metavar="PATH",
        help="an events.duckdb of an earlier run to measure with; made if it is not there",
    )  # fmt: skip
    return parser
