"""Reports on artifacts over HTTP: producers, uses, hits, and transfers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from hitrate.artifacts import gc
from hitrate.clock import ManualClock, iso
from tests.support.event_factory import body, event
from tests.support.manual_clock_server import ManualClockServer
from tests.support.server import eventually
from tests.support.synthetic_runs import DAY_MS, END_MS, SETUP_MS, Json, SyntheticTeam
from tests.support.team_fixture import TeamServer, run_team_server

SUMMARY, TIMESERIES, BREAKDOWN = (
    f"/v1/analytics/{report}" for report in ("summary", "timeseries", "breakdown")
)
SHA, DIRTY = "5f" * 20, "a0" * 32
HASHES = [f"{number:016x}" for number in range(1, 13)]
HIT_MS = 700
SOURCES = ("LOCAL", "REMOTE")


class ArtifactSet:
    """A team's artifacts, uploaded at different times; some of them were used."""

    def __init__(self, team: SyntheticTeam) -> None:
        self.team = team
        self.sizes = dict(zip(HASHES, random.Random(1).sample(range(1, 500), 12), strict=True))
        self.uploaded_ms: dict[str, int] = {}
        self.used_ms: dict[str, int] = {}
        self.hits: dict[str, int] = dict.fromkeys(HASHES, 0)
        for name in random.Random(2).sample(HASHES, 12):
            self._put(name)
        for number, name in enumerate(HASHES[:7]):
            for _ in range(number):
                self._hit(name)
        for name in random.Random(3).sample(HASHES, 5):
            self._get(name)

    def last_uses(self) -> dict[str, int]:
        """Return the last uses in the list of artifacts."""
        artifact_list = self.team.get("/v1/artifacts")["artifacts"]
        used = {one["hash"]: datetime.fromisoformat(one["lastUsedAt"]) for one in artifact_list}
        return {name: int(at.timestamp()) * 1000 for name, at in used.items()}

    def _put(self, name: str) -> None:
        self.uploaded_ms[name] = self.used_ms[name] = self._advance()
        send(self.team, "PUT", name, b"x" * self.sizes[name])

    def _get(self, name: str) -> None:
        self.used_ms[name] = self._advance()
        send(self.team, "GET", name)

    def _hit(self, name: str) -> None:
        self._advance()
        self.hits[name] += 1
        post(self.team, event(source="REMOTE", hash=name, duration=HIT_MS))

    def _advance(self) -> int:
        self.team.clock.advance(60)
        return self.team.clock.now_ms()


def send(team: SyntheticTeam, method: str, name: str, content: bytes = b"", **headers: str) -> None:
    response = team.server.request(
        method,
        f"/v8/artifacts/{name}",
        token=team.reader.secret,
        params={"slug": team.slug},
        content=content,
        headers={header.replace("_", "-"): value for header, value in headers.items()},
    )
    assert response.is_success, response.text


def post(team: SyntheticTeam, *events: Json) -> None:
    team.post(team.reader.secret, body(*events))


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(SETUP_MS)


@pytest.fixture(scope="module")
def team_server(
    tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> Iterator[TeamServer]:
    server = ManualClockServer(tmp_path_factory.mktemp("artifacts") / "data", clock)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gc, "WRITE_LAST_USED_INTERVAL_S", 0.0)
        with run_team_server(server, clock) as team_server:
            yield team_server


@pytest.fixture
def team(team_server: TeamServer, clock: ManualClock) -> SyntheticTeam:
    """A team without data."""
    return SyntheticTeam(team_server, clock, seed=0, count=0)


@pytest.fixture(scope="module")
def artifacts(team_server: TeamServer, clock: ManualClock) -> ArtifactSet:
    artifacts = ArtifactSet(SyntheticTeam(team_server, clock, seed=0, count=0))
    eventually(lambda: artifacts.last_uses() == artifacts.used_ms)
    return artifacts


def test_artifact_has_metadata_producer_and_uses(team: SyntheticTeam, clock: ManualClock) -> None:
    post(team, *(event(sessionId="producer", hash="abc", event="MISS", source=s) for s in SOURCES))
    send(
        team,
        "PUT",
        "abc",
        b"x" * 321,
        x_artifact_duration="1234",
        x_artifact_client_ci="GITHUB_ACTIONS",
        x_artifact_client_interactive="0",
        x_ai_agent="claude",
        x_artifact_sha=SHA,
        x_artifact_dirty_hash=DIRTY,
    )
    clock.advance(60)
    send(team, "GET", "abc")
    post(team, event(sessionId="user", hash="abc", source="REMOTE", duration=1234))
    last_use = iso(END_MS + 60_000)
    eventually(lambda: team.get("/v1/artifacts/abc")["artifact"]["producedBy"])
    eventually(lambda: team.get("/v1/artifacts/abc")["artifact"]["lastUsedAt"] == last_use)

    detail = team.get("/v1/artifacts/abc")

    sender = {
        "ci": "GITHUB_ACTIONS",
        "interactive": False,
        "agent": "claude",
        "tokenId": team.reader.id,
        "tokenLabel": "",
        "user": team.reader.user,
    }
    without_client = sender | {"ci": None, "interactive": None, "agent": None}
    expected = {
        "hash": "abc",
        "sizeBytes": 321,
        "durationMs": 1234.0,
        "createdAt": iso(END_MS),
        "lastUsedAt": last_use,
        "sha": SHA,
        "dirtyHash": DIRTY,
        "dirty": True,
        "producedBy": "producer",
        "sender": sender,
        "hits": {"local": 0, "remote": 1},
        "timeSavedMs": 1234,
    }
    assert detail["artifact"] == expected
    assert team.get("/v1/artifacts")["artifacts"] == [expected]
    used, produced = detail["uses"]
    assert used == {
        "sessionId": "user",
        "at": last_use,
        "outcome": "remote_hit",
        "timeSavedMs": 1234,
        "sender": without_client,
    }
    assert (produced["sessionId"], produced["outcome"], produced["timeSavedMs"]) == (
        "producer",
        "miss",
        0,
    )
    [task] = team.get("/v1/runs/user")["tasks"]
    assert task["artifact"]["producedBy"] == "producer"
    assert task["artifact"]["sizeBytes"] == 321


def test_artifact_has_dirty_state_if_the_client_sent_it(team: SyntheticTeam) -> None:
    send(team, "PUT", "clean", b"x", x_artifact_sha=SHA)
    send(team, "PUT", "dirty", b"x", x_artifact_sha=SHA, x_artifact_dirty_hash=DIRTY)
    send(team, "PUT", "silent", b"x")
    artifact_list = team.get("/v1/artifacts")["artifacts"]
    dirty = {"clean": False, "dirty": True, "silent": None}
    assert {artifact["hash"]: artifact["dirty"] for artifact in artifact_list} == dirty


@pytest.mark.parametrize("order", ["newest", "oldest", "largest", "smallest", "recent", "idle"])
@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_artifacts_are_listed_in_order_without_repetition(
    artifacts: ArtifactSet, order: str, limit: int
) -> None:
    by = {
        "newest": lambda name: -artifacts.uploaded_ms[name],
        "oldest": lambda name: artifacts.uploaded_ms[name],
        "largest": lambda name: -artifacts.sizes[name],
        "smallest": lambda name: artifacts.sizes[name],
        "recent": lambda name: -artifacts.used_ms[name],
        "idle": lambda name: artifacts.used_ms[name],
    }[order]
    assert hashes(artifacts, order=order, limit=limit) == sorted(HASHES, key=by)
    unused = [name for name in sorted(HASHES, key=by) if not artifacts.hits[name]]
    assert hashes(artifacts, order=order, limit=limit, unused="true") == unused


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_order_hits_lists_most_hit_artifacts_first(artifacts: ArtifactSet, limit: int) -> None:
    used = sorted(
        (name for name in HASHES if artifacts.hits[name]), key=lambda n: -artifacts.hits[n]
    )
    assert hashes(artifacts, order="hits", limit=limit) == used


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_unused_artifacts_are_listed_once_in_order_hits(artifacts: ArtifactSet, limit: int) -> None:
    unused = {name for name in HASHES if not artifacts.hits[name]}
    entries = hashes(artifacts, order="hits", limit=limit, unused="true")
    assert (len(entries), set(entries)) == (len(unused), unused)


def hashes(artifacts: ArtifactSet, **params: Any) -> list[str]:
    return [
        artifact["hash"]
        for artifact in artifacts.team.get_all("/v1/artifacts", "artifacts", **params)
    ]


def test_hits_cover_the_period(artifacts: ArtifactSet) -> None:
    for since, share in (("1d", 1), (iso(artifacts.team.clock.now_ms()), 0)):
        artifact_list = artifacts.team.get("/v1/artifacts", since=since)["artifacts"]
        assert {one["hash"]: one["hits"]["remote"] for one in artifact_list} == {
            name: hits * share for name, hits in artifacts.hits.items()
        }
        for one in artifact_list:
            assert one["timeSavedMs"] == one["hits"]["remote"] * HIT_MS


def test_uses_are_listed_newest_first_without_repetition(artifacts: ArtifactSet) -> None:
    name = HASHES[6]
    uses = artifacts.team.get_all(f"/v1/artifacts/{name}", "uses", limit=2)
    assert len({use["sessionId"] for use in uses}) == len(uses) == artifacts.hits[name] == 6
    assert [use["at"] for use in uses] == sorted((use["at"] for use in uses), reverse=True)


def test_artifact_that_is_not_stored_has_uses(team: SyntheticTeam) -> None:
    post(team, event(sessionId="requester", hash="missing", event="MISS"))
    detail = team.get("/v1/artifacts/missing")
    assert detail["artifact"] is None
    assert [use["sessionId"] for use in detail["uses"]] == ["requester"]
    [task] = team.get("/v1/runs/requester")["tasks"]
    assert task["artifact"] is None


def test_producer_is_set_without_later_events(
    team: SyntheticTeam,
) -> None:
    post(team, event(sessionId="early", hash="first", event="MISS"))
    assert team.get("/v1/runs/early")["run"]["tasks"] == 1  # its events are loaded
    send(team, "PUT", "first", b"x")
    eventually(lambda: team.get("/v1/artifacts/first")["artifact"]["producedBy"] == "early")

    send(team, "PUT", "second", b"x")
    post(team, event(sessionId="late", hash="second", event="MISS"))
    eventually(lambda: team.get("/v1/artifacts/second")["artifact"]["producedBy"] == "late")


def test_transfers_are_in_every_report(team: SyntheticTeam, clock: ManualClock) -> None:
    send(team, "PUT", "one", b"x" * 100, x_artifact_client_ci="VERCEL")
    send(team, "PUT", "two", b"x" * 50)
    clock.advance(DAY_MS / 1000)
    for _ in range(3):
        send(team, "GET", "one", x_artifact_client_ci="VERCEL")
    send(team, "GET", "two")
    stored = {"stored": 2, "storedBytes": 150}

    assert team.get(SUMMARY)["artifacts"] == transfers(2, 150, 4, 350) | stored
    assert team.get(SUMMARY, ci="VERCEL")["artifacts"] == transfers(1, 100, 3, 300) | stored
    assert team.get(SUMMARY, ci="none")["artifacts"] == transfers(1, 50, 1, 50) | stored
    assert team.get(SUMMARY, token="current")["artifacts"] == transfers(2, 150, 4, 350) | stored
    assert team.get(SUMMARY, token="tok_none")["artifacts"] == transfers(0, 0, 0, 0) | stored
    today = team.get(SUMMARY, since="1h", until=iso(clock.now_ms() + 1))
    assert today["artifacts"] == transfers(0, 0, 4, 350) | stored

    groups = team.get(BREAKDOWN, by="ci")["groups"]
    assert {group["key"]: group["artifacts"] for group in groups} == {
        "VERCEL": transfers(1, 100, 3, 300),
        None: transfers(1, 50, 1, 50),
    }
    [group] = team.get(BREAKDOWN, by="user")["groups"]
    assert (group["key"], group["artifacts"]) == (team.reader.user, transfers(2, 150, 4, 350))
    buckets = team.get(TIMESERIES, since="2d")["buckets"]
    transfers_by_bucket = {bucket["from"]: bucket["artifacts"] for bucket in buckets}
    assert [one for one in transfers_by_bucket.values() if any(one.values())] == [
        transfers(2, 150, 0, 0),
        transfers(0, 0, 4, 350),
    ]
    assert transfers_by_bucket[iso(END_MS)] == transfers(2, 150, 0, 0)


def transfers(uploads: int, uploaded: int, downloads: int, downloaded: int) -> Json:
    amounts = (uploads, uploaded, downloads, downloaded)
    names = ("uploads", "uploadedBytes", "downloads", "downloadedBytes")
    return dict(zip(names, amounts, strict=True))


def test_summary_has_uploads_of_the_previous_period(
    team: SyntheticTeam, clock: ManualClock
) -> None:
    send(team, "PUT", "old", b"x" * 10)
    clock.advance(DAY_MS / 1000)
    send(team, "PUT", "new", b"x" * 20)
    summary = team.get(SUMMARY, since="11h")
    assert summary["artifacts"]["uploadedBytes"] == 20
    assert summary["previous"]["artifacts"] == transfers(0, 0, 0, 0)
    assert team.get(SUMMARY, since="13h")["previous"]["artifacts"] == transfers(1, 10, 0, 0)
