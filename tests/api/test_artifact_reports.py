"""The reports on artifacts over HTTP, on a real server: who made them, who used them, and what was
moved."""

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
from tests.support.synthetic_runs import DAY_MS, END_MS, LONG_BEFORE_MS, Answer, History
from tests.support.team_fixture import TeamServer, run_team_server

SUMMARY, TIMESERIES, BREAKDOWN = (
    f"/v1/analytics/{report}" for report in ("summary", "timeseries", "breakdown")
)
SHA, DIRTY = "5f" * 20, "a0" * 32
HASHES = [f"{number:016x}" for number in range(1, 13)]
HIT_MS = 700
SOURCES = ("LOCAL", "REMOTE")


class Shelf:
    """The artifacts of a team: put there at different times, and some of them used since."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.sizes = dict(zip(HASHES, random.Random(1).sample(range(1, 500), 12), strict=True))
        self.made_ms: dict[str, int] = {}
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
        """What the reports say."""
        listed = self.history.ask("/v1/artifacts")["artifacts"]
        used = {one["hash"]: datetime.fromisoformat(one["lastUsedAt"]) for one in listed}
        return {name: int(at.timestamp()) * 1000 for name, at in used.items()}

    def _put(self, name: str) -> None:
        self.made_ms[name] = self.used_ms[name] = self._later()
        send(self.history, "PUT", name, b"x" * self.sizes[name])

    def _get(self, name: str) -> None:
        self.used_ms[name] = self._later()
        send(self.history, "GET", name)

    def _hit(self, name: str) -> None:
        self._later()
        self.hits[name] += 1
        post(self.history, event(source="REMOTE", hash=name, duration=HIT_MS))

    def _later(self) -> int:
        self.history.clock.advance(60)
        return self.history.clock.now_ms()


def send(history: History, method: str, name: str, content: bytes = b"", **headers: str) -> None:
    answer = history.server.request(
        method,
        f"/v8/artifacts/{name}",
        token=history.asks.secret,
        params={"slug": history.slug},
        content=content,
        headers={header.replace("_", "-"): value for header, value in headers.items()},
    )
    assert answer.is_success, answer.text


def post(history: History, *events: Answer) -> None:
    history.post(history.asks.secret, body(*events))


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(LONG_BEFORE_MS)


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
def history(team_server: TeamServer, clock: ManualClock) -> History:
    """A team that has done nothing yet."""
    return History(team_server, clock, seed=0, count=0)


@pytest.fixture(scope="module")
def shelf(team_server: TeamServer, clock: ManualClock) -> Shelf:
    shelf = Shelf(History(team_server, clock, seed=0, count=0))
    eventually(lambda: shelf.last_uses() == shelf.used_ms)
    return shelf


def test_artifact_has_metadata_producer_and_uses(history: History, clock: ManualClock) -> None:
    post(history, *(event(sessionId="maker", hash="abc", event="MISS", source=s) for s in SOURCES))
    send(
        history,
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
    send(history, "GET", "abc")
    post(history, event(sessionId="user", hash="abc", source="REMOTE", duration=1234))
    last_use = iso(END_MS + 60_000)
    eventually(lambda: history.ask("/v1/artifacts/abc")["artifact"]["producedBy"])
    eventually(lambda: history.ask("/v1/artifacts/abc")["artifact"]["lastUsedAt"] == last_use)

    detail = history.ask("/v1/artifacts/abc")

    sender = {
        "ci": "GITHUB_ACTIONS",
        "interactive": False,
        "agent": "claude",
        "tokenId": history.asks.id,
        "tokenLabel": "",
        "user": history.asks.user,
    }
    silent = sender | {"ci": None, "interactive": None, "agent": None}
    shown = {
        "hash": "abc",
        "sizeBytes": 321,
        "durationMs": 1234.0,
        "createdAt": iso(END_MS),
        "lastUsedAt": last_use,
        "sha": SHA,
        "dirtyHash": DIRTY,
        "dirty": True,
        "producedBy": "maker",
        "sender": sender,
        "hits": {"local": 0, "remote": 1},
        "timeSavedMs": 1234,
    }
    assert detail["artifact"] == shown
    assert history.ask("/v1/artifacts")["artifacts"] == [shown]
    used, made = detail["uses"]
    assert used == {
        "sessionId": "user",
        "at": last_use,
        "outcome": "remote_hit",
        "timeSavedMs": 1234,
        "sender": silent,
    }
    assert (made["sessionId"], made["outcome"], made["timeSavedMs"]) == ("maker", "miss", 0)
    [task] = history.ask("/v1/runs/user")["tasks"]
    assert task["artifact"]["producedBy"] == "maker"
    assert task["artifact"]["sizeBytes"] == 321


def test_artifact_has_dirty_state_if_the_client_sent_it(history: History) -> None:
    send(history, "PUT", "clean", b"x", x_artifact_sha=SHA)
    send(history, "PUT", "dirty", b"x", x_artifact_sha=SHA, x_artifact_dirty_hash=DIRTY)
    send(history, "PUT", "silent", b"x")
    listed = history.ask("/v1/artifacts")["artifacts"]
    dirty = {"clean": False, "dirty": True, "silent": None}
    assert {artifact["hash"]: artifact["dirty"] for artifact in listed} == dirty


@pytest.mark.parametrize("order", ["newest", "oldest", "largest", "smallest", "recent", "idle"])
@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_artifacts_are_listed_in_order_without_repetition(
    shelf: Shelf, order: str, limit: int
) -> None:
    by = {
        "newest": lambda name: -shelf.made_ms[name],
        "oldest": lambda name: shelf.made_ms[name],
        "largest": lambda name: -shelf.sizes[name],
        "smallest": lambda name: shelf.sizes[name],
        "recent": lambda name: -shelf.used_ms[name],
        "idle": lambda name: shelf.used_ms[name],
    }[order]
    assert hashes(shelf, order=order, limit=limit) == sorted(HASHES, key=by)
    unused = [name for name in sorted(HASHES, key=by) if not shelf.hits[name]]
    assert hashes(shelf, order=order, limit=limit, unused="true") == unused


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_order_hits_lists_most_hit_artifacts_first(shelf: Shelf, limit: int) -> None:
    used = sorted((name for name in HASHES if shelf.hits[name]), key=lambda n: -shelf.hits[n])
    assert hashes(shelf, order="hits", limit=limit) == used


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_unused_artifacts_are_listed_once_in_order_hits(shelf: Shelf, limit: int) -> None:
    unused = {name for name in HASHES if not shelf.hits[name]}
    listed = hashes(shelf, order="hits", limit=limit, unused="true")
    assert (len(listed), set(listed)) == (len(unused), unused)


def hashes(shelf: Shelf, **asked: Any) -> list[str]:
    return [found["hash"] for found in shelf.history.pages("/v1/artifacts", "artifacts", **asked)]


def test_hits_cover_the_period(shelf: Shelf) -> None:
    for since, share in (("1d", 1), (iso(shelf.history.clock.now_ms()), 0)):
        listed = shelf.history.ask("/v1/artifacts", since=since)["artifacts"]
        assert {one["hash"]: one["hits"]["remote"] for one in listed} == {
            name: hits * share for name, hits in shelf.hits.items()
        }
        for one in listed:
            assert one["timeSavedMs"] == one["hits"]["remote"] * HIT_MS


def test_uses_are_listed_newest_first_without_repetition(shelf: Shelf) -> None:
    name = HASHES[6]
    uses = shelf.history.pages(f"/v1/artifacts/{name}", "uses", limit=2)
    assert len({use["sessionId"] for use in uses}) == len(uses) == shelf.hits[name] == 6
    assert [use["at"] for use in uses] == sorted((use["at"] for use in uses), reverse=True)


def test_artifact_that_is_not_stored_has_uses(history: History) -> None:
    post(history, event(sessionId="wanted", hash="gone", event="MISS"))
    detail = history.ask("/v1/artifacts/gone")
    assert detail["artifact"] is None
    assert [use["sessionId"] for use in detail["uses"]] == ["wanted"]
    [task] = history.ask("/v1/runs/wanted")["tasks"]
    assert task["artifact"] is None


def test_producer_is_set_without_later_events(
    history: History,
) -> None:
    post(history, event(sessionId="early", hash="first", event="MISS"))
    assert history.ask("/v1/runs/early")["run"]["tasks"] == 1  # its events are loaded
    send(history, "PUT", "first", b"x")
    eventually(lambda: history.ask("/v1/artifacts/first")["artifact"]["producedBy"] == "early")

    send(history, "PUT", "second", b"x")
    post(history, event(sessionId="late", hash="second", event="MISS"))
    eventually(lambda: history.ask("/v1/artifacts/second")["artifact"]["producedBy"] == "late")


def test_transfers_are_in_every_report(history: History, clock: ManualClock) -> None:
    send(history, "PUT", "one", b"x" * 100, x_artifact_client_ci="VERCEL")
    send(history, "PUT", "two", b"x" * 50)
    clock.advance(DAY_MS / 1000)
    for _ in range(3):
        send(history, "GET", "one", x_artifact_client_ci="VERCEL")
    send(history, "GET", "two")
    stored = {"stored": 2, "storedBytes": 150}

    assert history.ask(SUMMARY)["artifacts"] == moved(2, 150, 4, 350) | stored
    assert history.ask(SUMMARY, ci="VERCEL")["artifacts"] == moved(1, 100, 3, 300) | stored
    assert history.ask(SUMMARY, ci="none")["artifacts"] == moved(1, 50, 1, 50) | stored
    assert history.ask(SUMMARY, token="current")["artifacts"] == moved(2, 150, 4, 350) | stored
    assert history.ask(SUMMARY, token="tok_none")["artifacts"] == moved(0, 0, 0, 0) | stored
    today = history.ask(SUMMARY, since="1h", until=iso(clock.now_ms() + 1))
    assert today["artifacts"] == moved(0, 0, 4, 350) | stored

    groups = history.ask(BREAKDOWN, by="ci")["groups"]
    assert {group["key"]: group["artifacts"] for group in groups} == {
        "VERCEL": moved(1, 100, 3, 300),
        None: moved(1, 50, 1, 50),
    }
    [group] = history.ask(BREAKDOWN, by="user")["groups"]
    assert (group["key"], group["artifacts"]) == (history.asks.user, moved(2, 150, 4, 350))
    buckets = history.ask(TIMESERIES, since="2d")["buckets"]
    told = {bucket["from"]: bucket["artifacts"] for bucket in buckets}
    assert [one for one in told.values() if any(one.values())] == [
        moved(2, 150, 0, 0),
        moved(0, 0, 4, 350),
    ]
    assert told[iso(END_MS)] == moved(2, 150, 0, 0)


def moved(uploads: int, uploaded: int, downloads: int, downloaded: int) -> Answer:
    amounts = (uploads, uploaded, downloads, downloaded)
    names = ("uploads", "uploadedBytes", "downloads", "downloadedBytes")
    return dict(zip(names, amounts, strict=True))


def test_summary_has_uploads_of_the_previous_period(history: History, clock: ManualClock) -> None:
    send(history, "PUT", "old", b"x" * 10)
    clock.advance(DAY_MS / 1000)
    send(history, "PUT", "new", b"x" * 20)
    summary = history.ask(SUMMARY, since="11h")
    assert summary["artifacts"]["uploadedBytes"] == 20
    assert summary["previous"]["artifacts"] == moved(0, 0, 0, 0)
    assert history.ask(SUMMARY, since="13h")["previous"]["artifacts"] == moved(1, 10, 0, 0)
