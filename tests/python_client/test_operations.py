"""All operations of both clients, with the strict fake and with a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitrate.client import BadRequest, CachingStatus, Event, RequestBody, Source
from tests.python_client.conftest import Cache, Connect
from tests.support.client_adapter import ClientAdapter
from tests.support.server import Server, eventually
from tests.support.strict_fake import StrictFake

CLIENT_INFO = {"x_artifact_client_ci": "GITHUB_ACTIONS", "x_artifact_client_interactive": 0}
ID_AND_SLUG = {"team_id": "team_a", "slug": "a"}
TURBO_VARIABLES = {"TURBO_TEAMID": "team_a", "TURBO_TEAM": "a"}


def recorded_events(cache: Cache, session: str) -> list[dict[str, Any]]:
    """Return the recorded events of a session in the order of their hashes."""
    if isinstance(cache, StrictFake):
        events = [event for event in cache.events if event["sessionId"] == session]
    else:
        events = eventually(lambda: cache.events(sessionId=session))
    names = ("sessionId", "source", "event", "hash", "duration")
    fields = [{name: e[name] for name in names if e.get(name) is not None} for e in events]
    return sorted(fields, key=lambda event: str(event["hash"]))


@pytest.mark.parametrize("event_type", ["models", "wire names", "Python names", "a tuple of each"])
def test_record_events_accepts_every_event_type(
    client: ClientAdapter, cache: Cache, unique: str, event_type: str
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

    client.record_events(events[event_type])

    assert recorded_events(cache, unique) == wire


def test_record_events_accepts_an_empty_list(client: ClientAdapter) -> None:
    client.record_events([])


def test_record_events_sends_the_client_headers(
    fake_client: ClientAdapter, fake: StrictFake
) -> None:
    fake_client.record_events([], **CLIENT_INFO, x_ai_agent="cursor")
    fake_client.record_events([], x_artifact_client_ci="c" * 50, x_artifact_client_interactive=True)
    fake_client.record_events([], x_artifact_client_ci=None, x_ai_agent=None)

    names = ("x-artifact-client-ci", "x-artifact-client-interactive", "x-ai-agent")
    sent = [tuple(request.headers.get(name) for name in names) for request in fake.requests]
    assert sent == [("GITHUB_ACTIONS", "0", "cursor"), ("c" * 50, "1", None), (None,) * 3]


def test_server_stores_the_client_headers_with_events(
    connect: Connect, shared_server: Server, unique: str
) -> None:
    client = connect(bearer_token=shared_server.token, server_url=shared_server.url)

    hit = {"session_id": unique, "source": "LOCAL", "event": "HIT", "hash": "h"}
    client.record_events([hit], slug=shared_server.team, **CLIENT_INFO, x_ai_agent="cursor")

    [event] = eventually(lambda: shared_server.events(sessionId=unique))
    assert (event["ci"], event["interactive"], event["agent"]) == ("GITHUB_ACTIONS", 0, "cursor")


def test_status_is_enabled(client: ClientAdapter) -> None:
    assert client.status().status is CachingStatus.ENABLED


@pytest.mark.parametrize("status", ["enabled", "disabled", "over_limit", "paused"])
def test_status_returns_every_state(
    fake_client: ClientAdapter, fake: StrictFake, status: str
) -> None:
    fake.status = status

    assert fake_client.status().status == status


@pytest.mark.parametrize("cache", ["fake", "server"], indirect=True)
def test_delete_all_returns_the_number_of_artifacts(client: ClientAdapter) -> None:
    for name in ("a", "b"):
        client.upload(name, b"content")

    assert [client.delete_all().deleted_count for _ in range(2)] == [2, 0]
    assert client.query(["a", "b"]) == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("environ", "settings", "options", "sent"),
    [
        ({}, {}, {}, {}),
        ({}, ID_AND_SLUG, {}, ID_AND_SLUG),
        ({}, {"slug": "a b&c=d/ü"}, {}, {"slug": "a b&c=d/ü"}),
        ({}, ID_AND_SLUG, {"slug": "b"}, {"slug": "b"}),
        ({}, ID_AND_SLUG, {"team_id": "team_b"}, {"team_id": "team_b"}),
        ({}, ID_AND_SLUG, {"slug": None, "team_id": None}, ID_AND_SLUG),
        (TURBO_VARIABLES, {}, {}, ID_AND_SLUG),
        (TURBO_VARIABLES, {}, {"slug": "b"}, {"slug": "b"}),
        (TURBO_VARIABLES, {"slug": "b"}, {}, {"slug": "b"}),
        (TURBO_VARIABLES, {"team_id": "team_b"}, {}, {"team_id": "team_b"}),
        ({"TURBO_TEAMID": "a", "TURBO_TEAM": "b"}, {}, {}, {"slug": "b"}),
        ({"TURBO_TEAMID": "", "TURBO_TEAM": ""}, {}, {}, {}),
    ],
)
def test_team_comes_from_the_call_then_the_client_then_the_environment(
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

    [request] = fake.requests
    wire_names = {"team_id": "teamId", "slug": "slug"}
    assert request.query == {wire_names[name]: value for name, value in sent.items()}


def test_every_operation_sends_the_team(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path
) -> None:
    team = {"team_id": fake.team_id, "slug": fake.slug}
    fake_client.record_events([], **team)
    fake_client.status(**team)
    fake_client.upload("h", b"content", **team)
    fake_client.download("h", **team)
    fake_client.download_to("h", tmp_path / "artifact", **team)
    with fake_client.stream("h", **team):
        pass
    fake_client.exists("h", **team)
    fake_client.query(["h"], **team)
    fake_client.delete_all(**team)

    assert {request.target.partition("?")[2] for request in fake.requests} == {
        f"slug={fake.slug}&teamId={fake.team_id}"
    }
    assert len(fake.requests) == 9


@pytest.mark.parametrize("slashes", ["", "/"])
def test_server_and_token_come_from_the_environment(
    connect: Connect, fake: StrictFake, monkeypatch: pytest.MonkeyPatch, slashes: str
) -> None:
    monkeypatch.setenv("TURBO_API", fake.url + slashes)
    monkeypatch.setenv("TURBO_TOKEN", fake.token)

    assert connect().status().status is CachingStatus.ENABLED


def test_close_closes_only_connections_that_the_client_created(
    connect: Connect, fake: StrictFake
) -> None:
    settings = {"bearer_token": fake.token, "server_url": fake.url}
    with_http_client, without = connect(**settings), connect(**settings, http_client=None)
    assert with_http_client.status() == without.status()

    for client in (with_http_client, without) * 2:
        client.exit()

    assert with_http_client.status().status is CachingStatus.ENABLED
    with pytest.raises(BadRequest, match="closed"):
        without.status()
