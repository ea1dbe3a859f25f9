"""Upgrade: the event store and spool of version 1 give the events and runs that it reported."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hitrate.artifacts.index import ArtifactIndex
from hitrate.clock import Clock, iso
from hitrate.datadir import DataDir
from hitrate.db.engine import open_database
from hitrate.events.loader import Loader
from hitrate.events.models import EventFilter
from hitrate.events.quarantine import Quarantine
from hitrate.events.schema import SCHEMA_VERSION
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.metrics import Metrics
from tests.fixtures import data_directory_v1

FIXTURE = Path(data_directory_v1.__file__).parent
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())
TEAMS = sorted(EXPECTED["after_loading"]["teams"])

_RUNS = """
SELECT session_id AS "sessionId", started_at, ended_at, tasks, local_hits AS "localHits",
       remote_hits AS "remoteHits", tasks - local_hits - remote_hits AS misses,
       local_ms, remote_ms, events, repeats + resent AS duplicates, anomalies,
       ci, interactive, agent, token_id AS "tokenId"
FROM runs r JOIN senders s ON s.id = r.sender WHERE r.team_id = ?
ORDER BY started_at DESC, r.id DESC
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    with tarfile.open(FIXTURE / "data.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return DataDir(tmp_path / "data")


@pytest.fixture
def store(data_dir: DataDir) -> Iterator[DuckDBEventStore]:
    engine = open_database(data_dir.path)
    store = DuckDBEventStore(data_dir.path, 2**26, ArtifactIndex(engine).durations)
    store.open()
    yield store
    store.close()
    engine.dispose()


def load_spool(store: DuckDBEventStore, data_dir: DataDir) -> None:
    spool = Spool(data_dir.spool, Clock())
    spool.open()
    loader = Loader(spool, store, Quarantine(data_dir.quarantine), Metrics(), Clock())
    assert loader.run_once(), loader.last_error
    spool.close()


def runs(store: DuckDBEventStore, team_id: str) -> list[dict[str, Any]]:
    """Return the runs of a team with the keys of the API, without what the database adds."""
    with store.cursor() as cursor:
        cursor.execute(_RUNS, [team_id])
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        row["startedAt"], row["endedAt"] = iso(row.pop("started_at")), iso(row.pop("ended_at"))
        row["timeSavedMs"] = {"local": row.pop("local_ms"), "remote": row.pop("remote_ms")}
        row["sender"] = {name: row.pop(name) for name in ("ci", "interactive", "agent", "tokenId")}
    return rows


def expected_runs(team: str) -> list[dict[str, Any]]:
    expected = []
    for run in EXPECTED["after_loading"]["teams"][team]["runs"]:
        sender = {k: v for k, v in run["sender"].items() if k not in ("tokenLabel", "user")}
        expected.append({**{k: v for k, v in run.items() if k != "hitRate"}, "sender": sender})
    return expected


def totals(store: DuckDBEventStore, team_id: str) -> dict[str, int]:
    """Return the totals of a team's runs."""
    rows = runs(store, team_id)
    names = ("tasks", "localHits", "remoteHits", "misses", "events", "duplicates", "anomalies")
    return {"runs": len(rows), **{name: sum(row[name] for row in rows) for name in names}}


@pytest.mark.parametrize("team", TEAMS)
def test_events_and_runs_equal_those_of_version_1(
    store: DuckDBEventStore, data_dir: DataDir, team: str
) -> None:
    load_spool(store, data_dir)
    expected = EXPECTED["after_loading"]["teams"][team]
    team_id = expected["team"]["id"]
    events = store.events(EventFilter(team_id, limit=10_000))
    assert msgspec.to_builtins(events) == expected["events"]
    assert runs(store, team_id) == expected_runs(team)


@pytest.mark.parametrize("team", TEAMS)
def test_totals_before_loading_the_spool_equal_those_of_version_1(
    store: DuckDBEventStore, team: str
) -> None:
    team_id = EXPECTED["after_loading"]["teams"][team]["team"]["id"]
    expected = EXPECTED["before_loading"]["summary"][team]["whole"]
    actual = totals(store, team_id)
    assert actual == {name: expected[name] for name in actual}


def test_file_of_version_1_gets_its_version(store: DuckDBEventStore) -> None:
    with store.cursor() as cursor:
        assert cursor.execute("FROM schema_version").fetchall() == [(SCHEMA_VERSION,)]
