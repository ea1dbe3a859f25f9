"""The strict fake server detects violations of the contract; the client's tests rely on it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.strict_fake import (
    Disconnect,
    ErrorResponse,
    PassThrough,
    Response,
    Step,
    StoredArtifact,
    StrictFake,
    Truncate,
)

EVENTS = "/v8/artifacts/events"
EVENT = {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "h", "duration": 4.5}
BINARY = {"content-type": "application/octet-stream"}
METADATA = {
    "x-artifact-duration": "400.0",
    "x-artifact-tag": "dGFn",
    "x-artifact-sha": "a" * 40,
    "x-artifact-dirty-hash": "b" * 64,
}
PUT_HEAD = b"PUT /v8/artifacts/h HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\n"


@pytest.fixture
def fake() -> Iterator[StrictFake]:
    with StrictFake() as fake:
        yield fake


@pytest.fixture
def http(fake: StrictFake) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {fake.token}", "accept-encoding": "identity"}
    with httpx.Client(base_url=fake.url, headers=headers, trust_env=False) as http:
        yield http


def test_artifact_operations_follow_the_contract(fake: StrictFake, http: httpx.Client) -> None:
    team = {"teamId": fake.team_id, "slug": fake.slug}
    context = {"x-artifact-client-ci": "c" * 50, "x-artifact-client-interactive": "0"}
    uploaded = http.put(
        "/v8/artifacts/h", content=b"hello", params=team, headers=BINARY | METADATA | context
    )
    assert uploaded.status_code == 202
    assert uploaded.json() == {"urls": [f"{fake.url}/v8/artifacts/h"]}
    assert fake.artifacts == {"h": StoredArtifact(b"hello", METADATA)}
    http.put("/v8/artifacts/a%2Fb", content=iter([b"he", b"y"]), headers=BINARY)
    assert fake.artifacts["a/b"].content == b"hey"

    downloaded = http.get("/v8/artifacts/h")
    assert downloaded.content == b"hello"
    assert downloaded.headers["content-length"] == "5"
    assert downloaded.headers.items() >= METADATA.items()
    assert http.head("/v8/artifacts/h").headers.items() >= METADATA.items()
    assert http.head("/v8/artifacts/missing").status_code == 404
    assert http.get("/v8/artifacts/missing").json()["error"]["code"] == "not_found"
    assert http.post("/v8/artifacts", json={"hashes": ["h", "a/b", "missing"]}).json() == {
        "h": {"size": 5, "taskDurationMs": 400, "tag": "dGFn"},
        "a/b": {"size": 3, "taskDurationMs": 0},
        "missing": None,
    }
    assert http.delete("/v8/artifacts").json() == {"deletedCount": 2}
    fake.status = "paused"
    assert http.get("/v8/artifacts/status").json() == {"status": "paused"}
    assert fake.violations == []
    assert fake.requests[0].query == team
    assert fake.requests[0].path == "/v8/artifacts/h"


def test_re_sent_batch_is_counted_once(fake: StrictFake, http: httpx.Client) -> None:
    for batch in ([EVENT], [EVENT, EVENT], [EVENT], []):
        response = http.post(EVENTS, json=batch)
        assert (response.status_code, response.json()) == (200, {})
    assert fake.events == [EVENT] * 3
    assert response.headers["x-vercel-id"] == "fake::4"


@pytest.mark.parametrize(
    ("body", "violation"),
    [
        ([EVENT, EVENT | {"source": "remote"}], "$[1].source is 'remote'"),
        ([EVENT | {"event": ["HIT"]}], "$[0].event is ['HIT']"),
        ([EVENT | {"duration": True}], "$[0].duration is True"),
        ([EVENT | {"duration": None}], "$[0].duration is None"),
        ([EVENT | {"hash": 1}], "$[0].hash is 1"),
        ([EVENT | {"extra": 1}], "$[0].extra is not allowed"),
        ([{k: v for k, v in EVENT.items() if k != "hash"}], "$[0].hash is missing"),
        (["x"], "$[0] is 'x'"),
        (EVENT, "$ is {'"),
        (b'[{"hash": "a", "hash": "a"}]', "$ is not strict JSON: a key is repeated"),
        (b'[{"duration": NaN}]', "$ is not strict JSON"),
        (b'[{"duration": 1e999}]', "$ is not strict JSON"),
        (b'["\\ud800"]', "$ is not strict JSON"),
        (b'["\xff"]', "$ is not strict JSON"),
        (b"", "$ is not strict JSON"),
    ],
)
def test_invalid_events_are_violations(
    fake: StrictFake, http: httpx.Client, body: Any, violation: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = http.post(EVENTS, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["code"] == response.json()["error"]["code"] == "bad_request"
    assert fake.violations[0].startswith(f"recordEvents: {violation}")
    assert fake.events == []


@pytest.mark.parametrize(
    ("method", "target", "options", "violation"),
    [
        ("GET", "/v8/artifacts/status?a=b", {}, "query parameter a is not allowed"),
        ("GET", "/v8/artifacts/status?slug=", {}, "query parameter slug is ''"),
        ("GET", "/v8/artifacts/status?slug=x&slug=x", {}, "query parameter slug is repeated"),
        ("GET", "/v8/artifacts/status?teamId=x", {}, "query parameter teamId is 'x'"),
        ("GET", "/v8/artifacts/status?slug=%ff", {}, "query 'slug=%ff' is malformed"),
        ("GET", "/v8/artifacts/status", {"content": b"x"}, "it has a body"),
        ("GET", "/v8/artifacts/status", {"headers": {"user-agent": ""}}, "user-agent is missing"),
        ("DELETE", "/v8/artifacts", {"content": b"x"}, "it has a body"),
        ("HEAD", "/v8/artifacts/h", {"content": iter([b""])}, "it has a body"),
        ("GET", "/v8/artifacts/h", {"headers": {"accept-encoding": "gzip"}}, "accept-encoding is"),
        ("GET", "/v8/artifacts/h", {"headers": {"x-artifact-client-ci": "c" * 51}}, "x-artifact"),
        ("POST", EVENTS, {"content": b"[]"}, "content-type is None"),
        (
            "POST",
            EVENTS,
            {"json": [], "headers": {"x-artifact-client-interactive": "true"}},
            "x-artifact-client-interactive is 'true'",
        ),
        ("POST", EVENTS, {"json": [], "headers": {"content-encoding": "gzip"}}, "content-encoding"),
        ("POST", "/v8/artifacts", {"json": {"hashes": [1]}}, "$ is {'hashes': [1]}"),
        ("POST", "/v8/artifacts", {"json": {"hashes": [], "more": 1}}, "$ is"),
        ("PUT", "/v8/artifacts/h", {"headers": {"content-type": "x"}}, "content-type is 'x'"),
        *(
            ("PUT", "/v8/artifacts/h", {"headers": BINARY | {name: value}}, f"{name} is")
            for name, value in {
                "x-artifact-duration": "-1",
                "x-artifact-tag": "t" * 601,
                "x-artifact-sha": "a" * 39,
                "x-artifact-dirty-hash": "g" * 64,
            }.items()
        ),
    ],
)
def test_invalid_requests_are_violations(
    fake: StrictFake,
    http: httpx.Client,
    method: str,
    target: str,
    options: dict[str, Any],
    violation: str,
) -> None:
    assert http.request(method, target, **options).status_code == 400
    assert len(fake.violations) == 1
    assert fake.violations[0].partition(": ")[2].startswith(violation)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v8/artifact/h", 404),
        ("GET", "//v8/artifacts/h", 404),
        ("GET", "/v8/artifacts/", 404),
        ("GET", "/v8/artifacts/a/b", 404),
        ("GET", EVENTS, 405),
        ("PATCH", "/v8/artifacts/h", 405),
    ],
)
def test_unknown_paths_and_methods_are_violations(
    fake: StrictFake, http: httpx.Client, method: str, path: str, status: int
) -> None:
    assert http.request(method, fake.url + path).status_code == status
    assert fake.violations == [f"{method} {path} is not part of the contract"]


@pytest.mark.parametrize(
    ("rest", "violation"),
    [
        (b"Content-Length: 9\r\n\r\nhello", "content-length is 9, but the body has 5 bytes"),
        (b"Content-Length: x\r\n\r\n", "content-length is 'x'"),
        (
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "content-length and transfer-encoding are both present",
        ),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "the chunks end early, after 5"),
        (b"Content-Length: 0\r\nHost: y\r\n\r\n", "host is repeated"),
        (b"Content-Length: 0\r\nx-artifact-tag: \xc3\xa4\r\n\r\n", "the header line"),
        (b"\r\n", "content-length and transfer-encoding are missing"),
        (b"Content-Length: 1\r\n\r\nxy", "the request line is 'y'"),
    ],
)
def test_invalid_framing_is_a_violation(fake: StrictFake, rest: bytes, violation: str) -> None:
    address = ("127.0.0.1", int(fake.url.rpartition(":")[2]))
    with (
        socket.create_connection(address, 10) as connection,
        connection.makefile("rb") as responses,
    ):
        head = PUT_HEAD + b"Authorization: Bearer fake-token\r\n"
        connection.sendall(head + b"Content-Type: application/octet-stream\r\n" + rest)
        connection.shutdown(socket.SHUT_WR)
        assert b" 40" in responses.read()
    assert any(violation in found for found in fake.violations)


def test_wrong_credentials_are_rejected_without_a_violation(
    fake: StrictFake, http: httpx.Client
) -> None:
    wrong = http.get("/v8/artifacts/status", headers={"authorization": "Bearer wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthorized")
    for query in ("teamId=team_other", "slug=other"):
        rejected = http.get(f"/v8/artifacts/status?{query}")
        assert (rejected.status_code, rejected.json()["code"]) == (403, "forbidden")
    assert fake.violations == []


def test_scripted_responses_are_sent_in_order(fake: StrictFake, http: httpx.Client) -> None:
    fake.script(
        Response(500, b"<html>"),
        Response(201, {"custom": 1}, {"X-Custom": "1"}),
        Response(204),
        ErrorResponse(429, "rate_limited", "Slow down", {"retry-after": "3"}),
        PassThrough(),
    )
    responses = [http.post(EVENTS, json=[EVENT]) for _ in range(6)]
    assert [response.status_code for response in responses] == [500, 201, 204, 429, 200, 200]
    assert responses[0].content == b"<html>"
    assert responses[1].json() == {"custom": 1}
    assert responses[1].headers["x-custom"] == "1"
    assert responses[3].headers["retry-after"] == "3"
    error = {"code": "rate_limited", "message": "Slow down"}
    assert responses[3].json() == {"error": error, **error}
    assert [response.headers["x-vercel-id"] for response in responses[:2]] == ["fake::1", "fake::2"]
    assert fake.events == [EVENT]
    assert len(fake.requests) == 6


@pytest.mark.parametrize(
    ("step", "events"), [(Disconnect(), []), (Disconnect(store=True), [EVENT])]
)
def test_disconnect_step_closes_the_connection(
    fake: StrictFake, http: httpx.Client, step: Step, events: list[dict[str, Any]]
) -> None:
    fake.script(step)
    with pytest.raises(httpx.RemoteProtocolError):
        http.post(EVENTS, json=[EVENT])
    assert fake.events == events
    http.post(EVENTS, json=[EVENT])
    assert fake.events == [EVENT]


def test_truncate_step_shortens_the_body(fake: StrictFake, http: httpx.Client) -> None:
    fake.artifacts["h"] = StoredArtifact(b"hello")
    fake.script(Truncate(3))
    with http.stream("GET", "/v8/artifacts/h") as response:
        assert response.headers["content-length"] == "5"
        chunks = response.iter_raw(3)
        assert next(chunks) == b"hel"
        with pytest.raises(httpx.RemoteProtocolError):
            next(chunks)
    assert http.get("/v8/artifacts/h").content == b"hello"


def test_scripted_requests_are_also_validated(fake: StrictFake, http: httpx.Client) -> None:
    fake.script(Response(200, {}), Disconnect(store=True))
    assert http.post(EVENTS, json={}).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        http.post(EVENTS, json=[1])
    assert fake.violations == ["recordEvents: $ is {}", "recordEvents: $[0] is 1"]
    assert fake.events == []


def test_connections_are_reused_and_the_fake_can_reopen(
    fake: StrictFake, http: httpx.Client
) -> None:
    with http.stream("GET", "/v8/artifacts/status") as first:
        first.read()
        connection = first.extensions["network_stream"].get_extra_info("client_addr")
    with http.stream("GET", "/v8/artifacts/missing") as second:
        second.read()
        assert second.extensions["network_stream"].get_extra_info("client_addr") == connection
    assert connection is not None
    fake.open()
    fake.close()
    fake.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{fake.url}/v8/artifacts/status", trust_env=False)
    fake.open()
    assert http.get("/v8/artifacts/status").status_code == 200
