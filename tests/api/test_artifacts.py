"""The artifact operations over HTTP, on a real server."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.server import Server

SIGNED = {"x-artifact-duration": "400", "x-artifact-tag": "Tc0BmHvJYMIYJ62/zx87YqO0Flxk+5Ovip25="}


def put(server: Server, path: str, content: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("PUT", f"/v8/artifacts/{path}", content=content, headers=named)


@pytest.mark.parametrize("size", [0, 1, 100_000, 256 * 1024, 256 * 1024 + 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_of_any_size_comes_back_whole(
    shared_server: Server, size: int, chunked: bool
) -> None:
    content = os.urandom(size)
    path = f"size-{size}-{chunked}"
    sent = iter([content]) if chunked else content
    assert put(shared_server, path, sent).status_code == 202
    answer = shared_server.request("GET", f"/v8/artifacts/{path}")
    assert answer.content == content
    assert answer.headers["content-length"] == str(size)


def test_an_upload_says_where_it_is(shared_server: Server) -> None:
    answer = put(shared_server, "where", b"x")
    assert answer.json() == {"urls": [f"{shared_server.url}/v8/artifacts/where"]}


def test_all_metadata_is_echoed_by_get_and_head(shared_server: Server) -> None:
    sent = {**SIGNED, "x-artifact-sha": "a" * 40, "x-artifact-dirty-hash": "b" * 64}
    put(shared_server, "meta", b"body", **sent)
    for method, body in (("GET", b"body"), ("HEAD", b"")):
        answer = shared_server.request(method, "/v8/artifacts/meta")
        assert answer.status_code == 200
        assert {name: answer.headers[name] for name in sent} == sent
        assert answer.headers["content-length"] == "4"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.content == body


def test_an_overwrite_replaces_body_and_all_metadata(shared_server: Server) -> None:
    put(shared_server, "over", b"first", **SIGNED)
    put(shared_server, "over", b"2nd")
    answer = shared_server.request("GET", "/v8/artifacts/over")
    assert answer.content == b"2nd"
    assert not [name for name in answer.headers if name.startswith("x-artifact")]


@pytest.mark.parametrize(
    ("accept", "label"),
    [
        ("application/json", "application/json"),
        ("application/json, */*", "application/octet-stream"),
        ("*/*", "application/octet-stream"),
    ],
)
def test_bytes_are_labelled_as_the_client_insists(
    shared_server: Server, accept: str, label: str
) -> None:
    put(shared_server, "label", b"x")
    answer = shared_server.request("GET", "/v8/artifacts/label", headers={"accept": accept})
    assert answer.headers["content-type"] == label


def test_what_is_not_there_is_404(shared_server: Server) -> None:
    answer = shared_server.request("GET", "/v8/artifacts/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert shared_server.request("HEAD", "/v8/artifacts/nothing").status_code == 404


@pytest.mark.parametrize(
    "path", ["..%2Fx", "a%2Fb", "%00", "a%00b", "x" * 257, "a.b", "%2e%2e", "a%20b", "%ff", ""]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_what_cannot_be_a_hash_is_refused(shared_server: Server, path: str, method: str) -> None:
    answer = shared_server.request(method, f"/v8/artifacts/{path}", content=b"")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-artifact-duration", "soon"),
        ("x-artifact-duration", "1e999"),
        ("x-artifact-duration", ""),
        ("x-artifact-duration", "NaN"),
        ("x-artifact-tag", "x" * 601),
        ("x-artifact-sha", "x" * 129),
        ("x-artifact-client-ci", "x" * 51),
        ("x-artifact-client-interactive", "2"),
    ],
)
def test_a_bad_header_is_refused_and_nothing_is_stored(
    shared_server: Server, name: str, value: str
) -> None:
    answer = put(shared_server, "badheader", b"x", **{name: value})
    assert answer.status_code == 400
    assert name in answer.json()["message"]
    assert shared_server.request("HEAD", "/v8/artifacts/badheader").status_code == 404


@pytest.mark.parametrize("value", ["0", "-5", "0.5", "400"])
def test_any_number_is_a_duration(shared_server: Server, value: str) -> None:
    put(shared_server, "number", b"x", x_artifact_duration=value)
    answer = shared_server.request("HEAD", "/v8/artifacts/number")
    assert answer.headers["x-artifact-duration"] == value


def test_a_query_answers_for_each_hash(shared_server: Server) -> None:
    put(shared_server, "known", b"12345", **SIGNED)
    put(shared_server, "plain", b"1")
    answer = shared_server.request(
        "POST", "/v8/artifacts", json={"hashes": ["known", "plain", "unknown", "../bad"]}
    ).json()
    tag = SIGNED["x-artifact-tag"]
    assert answer.pop("../bad")["error"]["message"]
    assert answer == {
        "known": {"size": 5, "taskDurationMs": 400, "tag": tag},
        "plain": {"size": 1, "taskDurationMs": 0},
        "unknown": None,
    }


def test_a_whole_duration_is_an_integer_in_a_querys_answer(shared_server: Server) -> None:
    put(shared_server, "whole", b"1", x_artifact_duration="25")
    answer = shared_server.request("POST", "/v8/artifacts", json={"hashes": ["whole"]})
    assert b'"taskDurationMs":25}' in answer.content


def test_a_client_that_is_refused_while_it_sends_hears_why(shared_server: Server) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 20_000

    with httpx.Client() as client:
        for _ in range(20):
            answer = client.put(
                f"{shared_server.url}/v8/artifacts/refused",
                content=body(),
                headers={"authorization": "Bearer wrong"},
            )
            assert answer.status_code == 401


def test_a_query_takes_ten_thousand_hashes_and_no_more(shared_server: Server) -> None:
    hashes = [f"{n:016x}" for n in range(10_000)]
    answer = shared_server.request("POST", "/v8/artifacts", json={"hashes": hashes})
    assert len(answer.json()) == 10_000
    answer = shared_server.request("POST", "/v8/artifacts", json={"hashes": [*hashes, "one"]})
    assert answer.status_code == 400


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"hashes": "a"}', b'{"hashes": [1]}'])
def test_a_bad_query_is_refused(shared_server: Server, content: bytes) -> None:
    answer = shared_server.request("POST", "/v8/artifacts", content=content)
    assert answer.status_code == 400
    assert "hashes" in answer.json()["message"]


def test_deleting_empties_one_teams_cache(shared_server: Server) -> None:
    shared_server.command("team", "create", "emptied")
    token = shared_server.create_token(team="emptied")
    put(shared_server, "stays", b"x")
    for name in ("a", "b"):
        shared_server.request("PUT", f"/v8/artifacts/{name}", content=b"x", token=token)
    answer = shared_server.request("DELETE", "/v8/artifacts", token=token)
    assert (answer.status_code, answer.json()) == (200, {"deletedCount": 2})
    assert shared_server.request("HEAD", "/v8/artifacts/a", token=token).status_code == 404
    assert shared_server.request("HEAD", "/v8/artifacts/stays").status_code == 200


def test_another_team_has_another_cache(shared_server: Server) -> None:
    shared_server.command("team", "create", "apart")
    token = shared_server.create_token(team="apart")
    put(shared_server, "same", b"ours")
    shared_server.request("PUT", "/v8/artifacts/same", content=b"theirs", token=token)
    assert shared_server.request("GET", "/v8/artifacts/same").content == b"ours"
    assert shared_server.request("GET", "/v8/artifacts/same", token=token).content == b"theirs"


def test_the_preflight_lists_authorization_by_name_and_needs_no_token(
    shared_server: Server,
) -> None:
    for path in ("events", "status", "abc", ""):
        url = f"{shared_server.url}/v8/artifacts/{path}".rstrip("/")
        answer = httpx.options(url)
        assert answer.status_code == 200
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "x-artifact-duration", "x-artifact-tag"} <= set(allowed)
        assert "PUT" in answer.headers["access-control-allow-methods"]


def test_an_upload_needs_a_length_or_chunks(shared_server: Server) -> None:
    request = httpx.Request(
        "PUT",
        f"{shared_server.url}/v8/artifacts/nolength",
        headers={"authorization": f"Bearer {shared_server.token}"},
    )
    del request.headers["content-length"]
    with httpx.Client() as client:
        answer = client.send(request)
    assert answer.status_code == 400
    assert "Content-Length" in answer.json()["message"]


def test_a_method_that_is_not_served_says_which_are(shared_server: Server) -> None:
    for method, path, allowed in (
        ("DELETE", "/v8/artifacts/abc", "PUT"),
        ("GET", "/v8/artifacts/events", "POST"),
        ("DELETE", "/v1/events", "GET"),
    ):
        answer = shared_server.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert allowed in answer.headers["allow"]
