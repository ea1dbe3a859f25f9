"""`hitrate.client.low_level`: calls of other endpoints, and streamed responses."""

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from hitrate.client import Hitrate, NotFound
from hitrate.client.low_level import Call, Download, atomic_write, send


def create_client(handler: httpx.MockTransport) -> Hitrate:
    return Hitrate(
        "token",
        server_url="http://cache.test",
        slug="web",
        http_client=httpx.Client(transport=handler),
        max_backoff=0,
    )


def test_a_call_returns_what_its_reader_returns() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer token"
        assert dict(request.url.params) == {"slug": "web", "limit": "2"}
        return httpx.Response(200, json={"path": request.url.path})

    call = Call("GET", "/v1/runs", lambda response: response.json()["path"], query={"limit": "2"})
    assert create_client(httpx.MockTransport(respond)).call(call, {}) == "/v1/runs"


def test_send_retries_and_returns_a_response_to_stream() -> None:
    responses = iter([httpx.Response(503), httpx.Response(200, content=b"content")])
    client = create_client(httpx.MockTransport(lambda _request: next(responses)))
    call = Call("GET", "/v1/export/runs", lambda _response: None)
    with closing(send(client, call, timeout=1.0)) as response:
        assert b"".join(Download(response)) == b"content"


def test_send_raises_the_errors_of_the_client() -> None:
    client = create_client(httpx.MockTransport(lambda _request: httpx.Response(404, json={})))
    with pytest.raises(NotFound):
        send(client, Call("GET", "/v1/none", lambda _response: None))


def test_atomic_write_keeps_the_previous_file_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"previous")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"incomplete")
        _ = 1 / 0
    assert path.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [path]
