"""Holds both clients to what every operation promises, before the strict fake and a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitrate.client import BadRequest, CachingStatus, Event, RequestBody, Source
from tests.python_client.conftest import Cache, Connect
from tests.support.client_adapter import Facade
from tests.support.server import Server, eventually
from tests.support.strict_fake import StrictFake

FACTS = {"x_artifact_client_ci": "GITHUB_ACTIONS", "x_artifact_client_interactive": 0}
BOTH = {"team_id": "team_a", "slug": "a"}
AS_TURBO = {"TURBO_TEAMID": "team_a", "TURBO_TEAM": "a"}


def recorded(cache: Cache, session: str) -> list[dict[str, Any]]:
    """The session's events as the cache has them, by their hashes."""
    if isinstance(cache, StrictFake):
        found = [event for event in cache.events if event["sessionId"] == session]
    else:
        found = eventually(lambda: cache.events(sessionId=session))
    names = ("sessionId", "source", "event", "hash", "duration")
    told = [{name: event[name] for name in names if event.get(name) is not None} for event in found]
    return sorted(told, key=lambda event: str(event["hash"]))


@pytest.mark.parametrize("form", ["models", "wire names", "Python names", "a tuple of each"])
def test_events_are_recorded_in_every_form(
    client: Facade, cache: Cache, unique: str, form: str
) -> None:
    hit = RequestBody(
        session_id=unique, source=Source.REMOTE, event=Event.HIT, hash="h1", duration=0.5
    )
    miss = RequestBody(session_id=unique, source=Source.LOCAL, event=Event.MISS, hash="h2")
    wire: list[dict[str, Any]] = [
        {
            "sessionId": unique,
            "source": "REMOTE",
            "event": "HIT",
            "hash": "h1",
            "duration": 0.5,
        },
        {"sessionId": unique, "source": "LOCAL", "event": "MISS", "hash": "h2"},
    ]
    python = [
        {"session_id" if name == "sessionId" else name: event[name] for name in event}
        for event in wire
    ]
    events = {
        "models": [hit, miss],
        "wire names": wire,
        "Python names": python,
        "a tuple of each": (hit, python[1]),
    }

    client.record_events(events[form])

    assert recorded(cache, unique) == wire


def test_no_events_are_valid_events(client: Facade) -> None:
    client.record_events([])


def test_what_a_recorder_says_of_itself_is_sent(judged: Facade, fake: StrictFake) -> None:
    judged.record_events([], **FACTS, x_ai_agent="cursor")
    judged.record_events([], x_artifact_client_ci="c" * 50, x_artifact_client_interactive=True)
    judged.record_events([], x_artifact_client_ci=None, x_ai_agent=None)

    names = ("x-artifact-client-ci", "x-artifact-client-interactive", "x-ai-agent")
    sent = [tuple(request.headers.get(name) for name in names) for request in fake.received]
    assert sent == [("GITHUB_ACTIONS", "0", "cursor"), ("c" * 50, "1", None), (None,) * 3]


def test_a_server_keeps_what_a_recorder_says_of_itself(
    connect: Connect, shared_server: Server, unique: str
) -> None:
    client = connect(bearer_token=shared_server.token, server_url=shared_server.url)

    event = {"session_id": unique, "source": "LOCAL", "event": "HIT", "hash": "h"}
    client.record_events([event], slug=shared_server.team, **FACTS, x_ai_agent="cursor")

    [told] = eventually(lambda: shared_server.events(sessionId=unique))
    assert (told["ci"], told["interactive"], told["agent"]) == ("GITHUB_ACTIONS", 0, "cursor")


def test_the_status_is_enabled(client: Facade) -> None:
    assert client.status().status is CachingStatus.ENABLED


@pytest.mark.parametrize("status", ["enabled", "disabled", "over_limit", "paused"])
def test_each_status_is_told(judged: Facade, fake: StrictFake, status: str) -> None:
    fake.status = status

    assert judged.status().status == status


@pytest.mark.parametrize("cache", ["fake", "server"], indirect=True)
def test_deleting_all_artifacts_tells_how_many_there_were(client: Facade) -> None:
    for name in ("a", "b"):
        client.upload(name, b"content")

    assert [client.delete_all().deleted_count for _ in range(2)] == [2, 0]
    assert client.query(["a", "b"]) == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("environ", "settings", "options", "sent"),
    [
        ({}, {}, {}, {}),
        ({}, BOTH, {}, BOTH),
        ({}, {"slug": "a b&c=d/ü"}, {}, {"slug": "a b&c=d/ü"}),
        ({}, BOTH, {"slug": "b"}, {"slug": "b"}),
        ({}, BOTH, {"team_id": "team_b"}, {"team_id": "team_b"}),
        ({}, BOTH, {"slug": None, "team_id": None}, BOTH),
        (AS_TURBO, {}, {}, BOTH),
        (AS_TURBO, {}, {"slug": "b"}, {"slug": "b"}),
        (AS_TURBO, {"slug": "b"}, {}, {"slug": "b"}),
        (AS_TURBO, {"team_id": "team_b"}, {}, {"team_id": "team_b"}),
        ({"TURBO_TEAMID": "a", "TURBO_TEAM": "b"}, {}, {}, {"slug": "b"}),
        ({"TURBO_TEAMID": "", "TURBO_TEAM": ""}, {}, {}, {}),
    ],
)
def test_the_team_is_the_calls_or_the_clients_or_the_environments(
    connect: Connect,
    fake: StrictFake,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    settings: dict[str, str],
    options: dict[str, str],
    sent: dict[str, str],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    fake.team_id, fake.slug = sent.get("team_id", ""), sent.get("slug", "")
    client = connect(bearer_token=fake.token, server_url=fake.url, **settings)

    client.status(**options)

    [request] = fake.received
    wire_names = {"team_id": "teamId", "slug": "slug"}
    assert request.query == {wire_names[name]: value for name, value in sent.items()}


def test_every_operation_names_the_team(judged: Facade, fake: StrictFake, tmp_path: Path) -> None:
    team = {"team_id": fake.team_id, "slug": fake.slug}
    judged.record_events([], **team)
    judged.status(**team)
    judged.upload("h", b"content", **team)
    judged.download("h", **team)
    judged.download_to("h", tmp_path / "artifact", **team)
    with judged.stream("h", **team):
        pass
    judged.exists("h", **team)
    judged.query(["h"], **team)
    judged.delete_all(**team)

    assert {request.target.partition("?")[2] for request in fake.received} == {
        f"slug={fake.slug}&teamId={fake.team_id}"
    }
    assert len(fake.received) == 9


@pytest.mark.parametrize("slashes", ["", "/"])
def test_the_server_and_the_token_come_from_the_environment(
    connect: Connect, fake: StrictFake, monkeypatch: pytest.MonkeyPatch, slashes: str
) -> None:
    monkeypatch.setenv("TURBO_API", fake.url + slashes)
    monkeypatch.setenv("TURBO_TOKEN", fake.token)

    assert connect().status().status is CachingStatus.ENABLED


def test_only_a_clients_own_connections_end_with_it(connect: Connect, fake: StrictFake) -> None:
    where = {"bearer_token": fake.token, "server_url": fake.url}
    given, own = connect(**where), connect(**where, http_client=None)
    assert given.status() == own.status()

    for client in (given, own) * 2:
        client.leave()

    assert given.status().status is CachingStatus.ENABLED
    with pytest.raises(BadRequest, match="closed"):
        own.status()
