"""Artifact operations over HTTP, on a real server."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.support.server import Server

SIGNED_METADATA = {
    "x-artifact-duration": "400",
    "x-artifact-tag": "Tc0BmHvJYMIYJ62/zx87YqO0Flxk+5Ovip25=",
}


def put(server: Server, path: str, content: Any, **headers: str) -> httpx.Response:
    request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("PUT", f"/v8/artifacts/{path}", content=content, headers=request_headers)


@pytest.mark.parametrize("size", [0, 1, 100_000, 256 * 1024, 256 * 1024 + 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_download_returns_an_upload_of_any_size_intact(
    shared_server: Server, size: int, chunked: bool
) -> None:
    content = os.urandom(size)
    path = f"size-{size}-{chunked}"
    sent = iter([content]) if chunked else content
    assert put(shared_server, path, sent).status_code == 202
    response = shared_server.request("GET", f"/v8/artifacts/{path}")
    assert response.content == content
    assert response.headers["content-length"] == str(size)


def test_upload_returns_the_artifact_url(shared_server: Server) -> None:
    response = put(shared_server, "where", b"x")
    assert response.json() == {"urls": [f"{shared_server.url}/v8/artifacts/where"]}


def test_public_url_is_used_in_artifact_urls_and_for_turbo(start_server: StartServer) -> None:
    server = start_server("--public-url", "https://cache.example.com")
    assert "export TURBO_API=https://cache.example.com\n" in server.output
    response = put(server, "where", b"x")
    assert response.json() == {"urls": ["https://cache.example.com/v8/artifacts/where"]}


def test_get_and_head_return_all_metadata(shared_server: Server) -> None:
    sent = {**SIGNED_METADATA, "x-artifact-sha": "a" * 40, "x-artifact-dirty-hash": "b" * 64}
    put(shared_server, "meta", b"body", **sent)
    for method, body in (("GET", b"body"), ("HEAD", b"")):
        response = shared_server.request(method, "/v8/artifacts/meta")
        assert response.status_code == 200
        assert {name: response.headers[name] for name in sent} == sent
        assert response.headers["content-length"] == "4"
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.content == body


def test_overwrite_replaces_body_and_all_metadata(shared_server: Server) -> None:
    put(shared_server, "over", b"first", **SIGNED_METADATA)
    put(shared_server, "over", b"2nd")
    response = shared_server.request("GET", "/v8/artifacts/over")
    assert response.content == b"2nd"
    assert not [name for name in response.headers if name.startswith("x-artifact")]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("application/json, */*", "application/octet-stream"),
        ("*/*", "application/octet-stream"),
    ],
)
def test_content_type_of_a_download_follows_the_accept_header(
    shared_server: Server, accept: str, content_type: str
) -> None:
    put(shared_server, "typed", b"x")
    response = shared_server.request("GET", "/v8/artifacts/typed", headers={"accept": accept})
    assert response.headers["content-type"] == content_type


def test_missing_artifact_is_a_404(shared_server: Server) -> None:
    response = shared_server.request("GET", "/v8/artifacts/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert shared_server.request("HEAD", "/v8/artifacts/nothing").status_code == 404


@pytest.mark.parametrize(
    "path", ["..%2Fx", "a%2Fb", "%00", "a%00b", "x" * 257, "a.b", "%2e%2e", "a%20b", "%ff", ""]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_invalid_hash_in_the_path_is_a_400(shared_server: Server, path: str, method: str) -> None:
    response = shared_server.request(method, f"/v8/artifacts/{path}", content=b"")
    assert response.status_code == 400


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
def test_invalid_header_is_a_400_and_stores_nothing(
    shared_server: Server, name: str, value: str
) -> None:
    response = put(shared_server, "badheader", b"x", **{name: value})
    assert response.status_code == 400
    assert name in response.json()["message"]
    assert shared_server.request("HEAD", "/v8/artifacts/badheader").status_code == 404


@pytest.mark.parametrize("value", ["0", "-5", "0.5", "400"])
def test_duration_may_be_any_number(shared_server: Server, value: str) -> None:
    put(shared_server, "number", b"x", x_artifact_duration=value)
    response = shared_server.request("HEAD", "/v8/artifacts/number")
    assert response.headers["x-artifact-duration"] == value


def test_query_returns_an_entry_for_each_hash(shared_server: Server) -> None:
    put(shared_server, "stored", b"12345", **SIGNED_METADATA)
    put(shared_server, "plain", b"1")
    response = shared_server.request(
        "POST", "/v8/artifacts", json={"hashes": ["stored", "plain", "unknown", "../bad"]}
    ).json()
    tag = SIGNED_METADATA["x-artifact-tag"]
    assert response.pop("../bad")["error"]["message"]
    assert response == {
        "stored": {"size": 5, "taskDurationMs": 400, "tag": tag},
        "plain": {"size": 1, "taskDurationMs": 0},
        "unknown": None,
    }


def test_query_returns_a_whole_duration_as_an_integer(shared_server: Server) -> None:
    put(shared_server, "whole", b"1", x_artifact_duration="25")
    response = shared_server.request("POST", "/v8/artifacts", json={"hashes": ["whole"]})
    assert b'"taskDurationMs":25}' in response.content


def test_client_receives_a_401_while_it_is_still_sending(shared_server: Server) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 20_000

    with httpx.Client() as client:
        for _ in range(20):
            response = client.put(
                f"{shared_server.url}/v8/artifacts/rejected",
                content=body(),
                headers={"authorization": "Bearer wrong"},
            )
            assert response.status_code == 401


def test_query_accepts_at_most_10000_hashes(shared_server: Server) -> None:
    hashes = [f"{n:016x}" for n in range(10_000)]
    response = shared_server.request("POST", "/v8/artifacts", json={"hashes": hashes})
    assert len(response.json()) == 10_000
    response = shared_server.request("POST", "/v8/artifacts", json={"hashes": [*hashes, "one"]})
    assert response.status_code == 400


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"hashes": "a"}', b'{"hashes": [1]}'])
def test_invalid_query_is_a_400(shared_server: Server, content: bytes) -> None:
    response = shared_server.request("POST", "/v8/artifacts", content=content)
    assert response.status_code == 400
    assert "hashes" in response.json()["message"]


def test_delete_removes_all_artifacts_of_one_team(shared_server: Server) -> None:
    shared_server.command("team", "create", "emptied")
    token = shared_server.create_token(team="emptied")
    put(shared_server, "stays", b"x")
    for name in ("a", "b"):
        shared_server.request("PUT", f"/v8/artifacts/{name}", content=b"x", token=token)
    response = shared_server.request("DELETE", "/v8/artifacts", token=token)
    assert (response.status_code, response.json()) == (200, {"deletedCount": 2})
    assert shared_server.request("HEAD", "/v8/artifacts/a", token=token).status_code == 404
    assert shared_server.request("HEAD", "/v8/artifacts/stays").status_code == 200


def test_teams_may_store_different_artifacts_under_one_hash(shared_server: Server) -> None:
    shared_server.command("team", "create", "apart")
    token = shared_server.create_token(team="apart")
    put(shared_server, "same", b"ours")
    shared_server.request("PUT", "/v8/artifacts/same", content=b"theirs", token=token)
    assert shared_server.request("GET", "/v8/artifacts/same").content == b"ours"
    assert shared_server.request("GET", "/v8/artifacts/same", token=token).content == b"theirs"


def test_preflight_lists_authorization_by_name_and_needs_no_token(
    shared_server: Server,
) -> None:
    for path in ("events", "status", "abc", ""):
        url = f"{shared_server.url}/v8/artifacts/{path}".rstrip("/")
        response = httpx.options(url)
        assert response.status_code == 200
        allowed = response.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "x-artifact-duration", "x-artifact-tag"} <= set(allowed)
        assert "PUT" in response.headers["access-control-allow-methods"]


def test_upload_without_length_or_chunks_is_a_400(shared_server: Server) -> None:
    request = httpx.Request(
        "PUT",
        f"{shared_server.url}/v8/artifacts/nolength",
        headers={"authorization": f"Bearer {shared_server.token}"},
    )
    del request.headers["content-length"]
    with httpx.Client() as client:
        response = client.send(request)
    assert response.status_code == 400
    assert "Content-Length" in response.json()["message"]


def test_405_lists_the_allowed_methods(shared_server: Server) -> None:
    for method, path, allowed in (
        ("DELETE", "/v8/artifacts/abc", "PUT"),
        ("GET", "/v8/artifacts/events", "POST"),
        ("DELETE", "/v1/events", "GET"),
    ):
        response = shared_server.request(method, path)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert allowed in response.headers["allow"]
