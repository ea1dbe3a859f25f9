"""Fifty SIGKILLs under load on one data folder: what was acknowledged is there, exactly once."""

import json
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.load_generator import Ledger, Load
from tests.support.raw_http import Client
from tests.support.server import Server, eventually

ROUNDS = 50
SEED = 20261121
LONGEST_ROUND_S = 0.6


def test_fifty_kills_lose_and_double_nothing_that_was_acknowledged(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(SEED)
    ledger = Ledger()
    server = start_server()
    for number in range(ROUNDS):
        if number:
            server.start()
        with Load(server, ledger, SEED + number) as load:
            load.acknowledged.wait(LONGEST_ROUND_S)
            threading.Event().wait(dice.uniform(0, LONGEST_ROUND_S))
            server.kill()

    assert ledger.refused == []
    collected = _collect(server)
    _assert_files_and_index_agree(server.data_dir)
    server.start()
    with Client(server) as client:
        eventually(lambda: client.waiting_segments() == 0, 120)
        events = ledger.count_events(client.events())
        artifacts = ledger.assert_artifacts(client)
    assert server.stop() == 0
    _assert_files_and_index_agree(server.data_dir)

    uploads = [version for versions in ledger.versions.values() for version in versions]
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {ROUNDS} kills, {ledger.broken} connections cut\n"
            f"events: {events.acknowledged_batches} of {events.batches} batches with "
            f"{events.acknowledged} events acknowledged, {ledger.resent} requests sent again; "
            f"{events.recorded} events recorded, {events.lost} lost, {events.doubled} doubled, "
            f"{events.torn_batches} batches torn\n"
            f"artifacts: {sum(v.acknowledged for v in uploads)} of {len(uploads)} uploads "
            f"acknowledged; {artifacts} artifacts served whole, 0 lost\n"
            f"files without an artifact after the last kill, removed by gc: {collected}"
        )
    events.assert_exact()
    assert ledger.broken >= ROUNDS, "the kills did not meet any load"


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
