"""SIGKILL under load, 50 times on one data directory: acknowledged data exists exactly once."""

import json
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.load_generator import ExpectedState, LoadGenerator
from tests.support.raw_http import RawHttpClient
from tests.support.server import Server, eventually

ROUNDS = 50
SEED = 20261121
MAX_ROUND_S = 0.6


def test_50_kills_under_load_neither_lose_nor_duplicate_acknowledged_data(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    expected = ExpectedState()
    server = start_server()
    for number in range(ROUNDS):
        if number:
            server.start()
        with LoadGenerator(server, expected, SEED + number) as load:
            load.acknowledged.wait(MAX_ROUND_S)
            threading.Event().wait(rng.uniform(0, MAX_ROUND_S))
            server.kill()

    assert expected.rejected == []
    collected = _collect(server)
    _assert_files_and_index_agree(server.data_dir)
    server.start()
    with RawHttpClient(server) as client:
        eventually(lambda: client.pending_segments() == 0, 120)
        events = expected.count_events(client.events())
        artifacts = expected.assert_artifacts(client)
    assert server.stop() == 0
    _assert_files_and_index_agree(server.data_dir)

    uploads = [version for versions in expected.versions.values() for version in versions]
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {ROUNDS} kills, {expected.connection_errors} connection errors\n"
            f"events: {events.acknowledged_batches} of {events.batches} batches with "
            f"{events.acknowledged} events acknowledged, {expected.resent} requests re-sent; "
            f"{events.recorded} events recorded, {events.lost} lost, "
            f"{events.duplicated} duplicated, {events.partial_batches} batches recorded in part\n"
            f"artifacts: {sum(v.acknowledged for v in uploads)} of {len(uploads)} uploads "
            f"acknowledged; {artifacts} artifacts intact, 0 lost\n"
            f"orphans after the last kill, removed by gc: {collected}"
        )
    events.assert_exact()
    assert expected.connection_errors >= ROUNDS, "no kill interrupted a request"


def _collect(server: Server) -> dict[str, Any]:
    report = json.loads(server.command("gc", "--json"))
    assert report["removed"].keys() <= {"orphanBody"}, report
    assert json.loads(server.command("gc", "--json"))["removed"] == {}
    removed: dict[str, Any] = report["removed"]
    return removed


def _assert_files_and_index_agree(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / "hitrate.sqlite")) as database:
        rows = set(database.execute("SELECT team_id, blob, size_bytes FROM artifacts"))
    files = {
        (path.parts[-3], path.name, path.stat().st_size)
        for path in (data_dir / "artifacts").rglob("*")
        if path.is_file()
    }
    assert files == rows
