"""HTTP API of events: recordEvents and listEvents on a real server."""

import json
from typing import Any

import pytest

from tests.support.event_factory import body, event
from tests.support.server import Server, eventually

EVENTS_PATH = "/v8/artifacts/events"


def post(server: Server, content: bytes, **headers: str) -> Any:
    header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("POST", EVENTS_PATH, content=content, headers=header_fields)


def wait_for_events(server: Server, session: str, count: int) -> list[dict[str, Any]]:
    return eventually(
        lambda: events if len(events := server.events(sessionId=session)) >= count else []
    )


def test_event_is_recorded_with_its_sender_and_time(shared_server: Server) -> None:
    sent = event(sessionId="who", source="REMOTE", event="HIT", duration=1234)
    response = post(
        shared_server,
        body(sent),
        x_artifact_client_ci="GITHUB_ACTIONS",
        x_artifact_client_interactive="0",
        x_ai_agent="some-agent",
    )
    assert (response.status_code, response.content) == (200, b"{}")
    [recorded] = wait_for_events(shared_server, "who", 1)
    assert {name: recorded[name] for name in sent} == sent
    assert (recorded["ci"], recorded["interactive"], recorded["agent"]) == (
        "GITHUB_ACTIONS",
        False,
        "some-agent",
    )
    assert recorded["tokenId"].startswith("tok_")
    assert recorded["receivedAt"].endswith("Z")


def test_empty_batch_is_accepted(shared_server: Server) -> None:
    assert post(shared_server, b"[]").status_code == 200


def test_batch_with_one_invalid_event_is_rejected_as_a_whole(shared_server: Server) -> None:
    response = post(
        shared_server, body(event(sessionId="part"), event(sessionId="part", source="X"))
    )
    assert response.status_code == 400
    assert "$[1].source" in response.json()["error"]["message"]
    post(shared_server, body(event(sessionId="part-after")))
    wait_for_events(shared_server, "part-after", 1)
    assert shared_server.events(sessionId="part") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-artifact-client-ci", "x" * 51),
        ("x-artifact-client-interactive", "2"),
        ("x-artifact-client-interactive", "yes"),
        ("x-artifact-client-interactive", "-0"),
        ("x-artifact-client-interactive", ""),
    ],
)
def test_invalid_client_header_is_rejected_by_name(
    shared_server: Server, name: str, value: str
) -> None:
    response = shared_server.request("POST", EVENTS_PATH, content=b"[]", headers={name: value})
    assert response.status_code == 400
    assert name in response.json()["message"]


def test_ci_header_of_50_characters_is_accepted(shared_server: Server) -> None:
    assert post(shared_server, b"[]", x_artifact_client_ci="x" * 50).status_code == 200


def test_resent_batch_counts_once_across_a_restart(server: Server) -> None:
    batch = body(event(sessionId="again"), event(sessionId="again"))
    assert post(server, batch).status_code == 200
    wait_for_events(server, "again", 2)
    assert post(server, batch).status_code == 200
    server.stop()
    server.start()
    assert post(server, batch).status_code == 200
    post(server, body(event(sessionId="after")))
    wait_for_events(server, "after", 1)
    assert len(server.events(sessionId="again")) == 2


def test_batch_above_the_size_limit_is_rejected_and_one_below_recorded(server: Server) -> None:
    limit = 8 * 2**20
    items = [event(sessionId="big", hash=f"{n:0100d}") for n in range(42_000)]
    raw = body(*items)
    assert limit * 0.8 < len(raw) < limit
    assert post(server, raw).status_code == 200
    wait_for_events(server, "big", 42_000)
    response = post(server, raw + b" " * limit)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_pages_are_contiguous_without_repetition(shared_server: Server) -> None:
    for batch in range(25):
        items = (event(sessionId="pages", hash=f"{batch}-{n}") for n in range(10))
        post(shared_server, body(*items))
    wait_for_events(shared_server, "pages", 250)
    ids: list[int] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"sessionId": "pages", "limit": 40}
        if cursor:
            params["cursor"] = cursor
        page = shared_server.request("GET", "/v1/events", params=params).json()
        ids += [event["id"] for event in page["events"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert len(ids) == len(set(ids)) == 250
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("query", "expected_text"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("since=yesterday", "since"),
        ("since=2026-13-01", "since"),
        ("cursor=abc", "cursor"),
        ("cursor=-1", "cursor"),
    ],
)
def test_invalid_query_parameter_is_rejected_by_name(
    shared_server: Server, query: str, expected_text: str
) -> None:
    response = shared_server.request("GET", f"/v1/events?{query}")
    assert response.status_code == 400
    assert expected_text in response.json()["error"]["message"]


def test_since_accepts_a_time_or_a_duration(shared_server: Server) -> None:
    post(shared_server, body(event(sessionId="since")))
    wait_for_events(shared_server, "since", 1)
    for since, count in (("1h", 1), ("2001-01-01", 1), ("2999-01-01T00:00:00Z", 0)):
        assert len(shared_server.events(sessionId="since", since=since)) == count


def test_events_of_another_team_are_not_listed(shared_server: Server) -> None:
    shared_server.command("team", "create", "other-events")
    token = shared_server.create_token(team="other-events")
    raw = body(event(sessionId="other-events"))
    assert shared_server.request("POST", EVENTS_PATH, content=raw, token=token).status_code == 200
    eventually(lambda: shared_server.events(sessionId="other-events", token=token))
    assert shared_server.events(sessionId="other-events") == []


def test_tokens_are_never_logged(server: Server) -> None:
    post(server, b"no json")
    server.request("GET", "/v8/artifacts/status", headers={"authorization": "Bearer hr_secret"})
    server.request("GET", f"/v8/artifacts/status?token={server.token}&slug=x")
    server.stop()
    lines = [json.loads(line) for line in server.log.splitlines()]
    rejected = [line for line in lines if line["event"] == "request rejected"]
    assert len(rejected) == 3
    assert all(line["request_id"] for line in rejected)
    assert server.token not in server.log
    assert "hr_secret" not in server.log
