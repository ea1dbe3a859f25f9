"""recordEvents over HTTP, on a real server."""

import json
from typing import Any

import pytest

from tests.support.event_factory import body, event
from tests.support.server import Server, eventually

EVENTS = "/v8/artifacts/events"


def post(server: Server, content: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("POST", EVENTS, content=content, headers=named)


def recorded(server: Server, session: str, count: int) -> list[dict[str, Any]]:
    return eventually(
        lambda: found if len(found := server.events(sessionId=session)) >= count else []
    )


def test_an_event_is_recorded_with_who_sent_it_and_when(shared_server: Server) -> None:
    sent = event(sessionId="who", source="REMOTE", event="HIT", duration=1234)
    answer = post(
        shared_server,
        body(sent),
        x_artifact_client_ci="GITHUB_ACTIONS",
        x_artifact_client_interactive="0",
        x_ai_agent="some-agent",
    )
    assert (answer.status_code, answer.content) == (200, b"{}")
    [found] = recorded(shared_server, "who", 1)
    assert {name: found[name] for name in sent} == sent
    assert (found["ci"], found["interactive"], found["agent"]) == (
        "GITHUB_ACTIONS",
        False,
        "some-agent",
    )
    assert found["tokenId"].startswith("tok_")
    assert found["receivedAt"].endswith("Z")


def test_an_empty_batch_is_fine(shared_server: Server) -> None:
    assert post(shared_server, b"[]").status_code == 200


def test_a_batch_with_one_bad_event_records_none(shared_server: Server) -> None:
    answer = post(shared_server, body(event(sessionId="part"), event(sessionId="part", source="X")))
    assert answer.status_code == 400
    assert "$[1].source" in answer.json()["error"]["message"]
    post(shared_server, body(event(sessionId="part-after")))
    recorded(shared_server, "part-after", 1)
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
def test_a_bad_client_header_is_refused_and_named(
    shared_server: Server, name: str, value: str
) -> None:
    answer = shared_server.request("POST", EVENTS, content=b"[]", headers={name: value})
    assert answer.status_code == 400
    assert name in answer.json()["message"]


def test_fifty_characters_of_ci_are_fine(shared_server: Server) -> None:
    assert post(shared_server, b"[]", x_artifact_client_ci="x" * 50).status_code == 200


def test_a_resent_batch_counts_once_also_across_a_restart(server: Server) -> None:
    batch = body(event(sessionId="again"), event(sessionId="again"))
    assert post(server, batch).status_code == 200
    recorded(server, "again", 2)
    assert post(server, batch).status_code == 200
    server.stop()
    server.start()
    assert post(server, batch).status_code == 200
    post(server, body(event(sessionId="after")))
    recorded(server, "after", 1)
    assert len(server.events(sessionId="again")) == 2


def test_a_batch_up_to_the_limit_is_recorded_and_one_beyond_is_refused(server: Server) -> None:
    limit = 8 * 2**20
    items = [event(sessionId="big", hash=f"{n:0100d}") for n in range(42_000)]
    raw = body(*items)
    assert limit * 0.8 < len(raw) < limit
    assert post(server, raw).status_code == 200
    recorded(server, "big", 42_000)
    answer = post(server, raw + b" " * limit)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_pages_join_without_gap_or_repetition(shared_server: Server) -> None:
    for batch in range(25):
        items = (event(sessionId="pages", hash=f"{batch}-{n}") for n in range(10))
        post(shared_server, body(*items))
    recorded(shared_server, "pages", 250)
    ids: list[int] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"sessionId": "pages", "limit": 40}
        if cursor:
            params["cursor"] = cursor
        page = shared_server.request("GET", "/v1/events", params=params).json()
        ids += [found["id"] for found in page["events"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert len(ids) == len(set(ids)) == 250
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("query", "word"),
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
def test_a_bad_question_names_the_parameter(shared_server: Server, query: str, word: str) -> None:
    answer = shared_server.request("GET", f"/v1/events?{query}")
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


def test_since_takes_a_time_or_a_length_of_time(shared_server: Server) -> None:
    post(shared_server, body(event(sessionId="since")))
    recorded(shared_server, "since", 1)
    for since, count in (("1h", 1), ("2001-01-01", 1), ("2999-01-01T00:00:00Z", 0)):
        assert len(shared_server.events(sessionId="since", since=since)) == count


def test_teams_do_not_see_each_other(shared_server: Server) -> None:
    shared_server.command("team", "create", "walled")
    token = shared_server.create_token(team="walled")
    raw = body(event(sessionId="walled"))
    assert shared_server.request("POST", EVENTS, content=raw, token=token).status_code == 200
    eventually(lambda: shared_server.events(sessionId="walled", token=token))
    assert shared_server.events(sessionId="walled") == []


def test_no_token_is_ever_logged(server: Server) -> None:
    post(server, b"no json")
    server.request("GET", "/v8/artifacts/status", headers={"authorization": "Bearer hr_secret"})
    server.request("GET", f"/v8/artifacts/status?token={server.token}&slug=x")
    server.stop()
    lines = [json.loads(line) for line in server.log.splitlines()]
    refused = [line for line in lines if line["event"] == "request rejected"]
    assert len(refused) == 3
    assert all(line["request_id"] for line in refused)
    assert server.token not in server.log
    assert "hr_secret" not in server.log
