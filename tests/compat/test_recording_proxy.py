"""Holds the recording proxy to passing bytes on as they came: all other tests here rely on it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.support.recording_proxy import RecordingProxy
from tests.support.server import eventually

TIMEOUT_S = 10
SIZED = b"PUT /a?slug=t HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 5\r\nX-Tag: a+/=\r\n\r\nhello"
CHUNKED = (
    b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;q=1\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)
HEAD = b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"
PREFLIGHT = b"OPTIONS /a HTTP/1.1\r\nHost: x\r\n\r\n"
SIZED_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-tag: a+/=\r\n\r\nhello"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
ENDLESS_ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
HEAD_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
EMPTY_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Script:
    """A server that, for one connection, expects exact bytes and answers with exact bytes."""

    def __init__(self, *steps: tuple[bytes, bytes]) -> None:
        self.steps = steps
        self.received: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._play)
        self.thread.start()

    def _play(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            for request, answer in self.steps:
                self.received.append(_read(connection, len(request)))
                connection.sendall(answer)

    def close(self) -> None:
        self.thread.join(TIMEOUT_S)
        self.listener.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("request_", "answer", "request_body", "answer_body"),
    [
        (SIZED, SIZED_ANSWER, b"hello", b"hello"),
        (CHUNKED, CHUNKED_ANSWER, b"hello", b"hello"),
        (SIZED, ENDLESS_ANSWER, b"hello", b"hello"),
        (SIZED, b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED_ANSWER, b"hello", b"hello"),
        (HEAD, HEAD_ANSWER, b"", b""),
        (PREFLIGHT, EMPTY_ANSWER, b"", b""),
    ],
    ids=["sized", "chunked", "until the end", "after a continue", "head", "preflight"],
)
def test_proxy_forwards_bytes_unchanged_and_records_their_content(
    stack: ExitStack, request_: bytes, answer: bytes, request_body: bytes, answer_body: bytes
) -> None:
    server, proxy, client = _start(stack, (request_, answer))

    client.sendall(request_)

    assert _read(client, len(answer)) == answer
    assert server.received == [request_]
    eventually(lambda: len(proxy.exchanges) == 1)
    [exchange] = proxy.exchanges
    assert exchange.status in {200, 204}
    assert (exchange.request_body, exchange.response_body) == (request_body, answer_body)


def test_proxy_forwards_consecutive_requests_on_one_connection(stack: ExitStack) -> None:
    server, proxy, client = _start(stack, (HEAD, HEAD_ANSWER), (SIZED, SIZED_ANSWER))

    for request, answer in server.steps:
        client.sendall(request)
        assert _read(client, len(answer)) == answer

    eventually(lambda: len(proxy.exchanges) == 2)
    last = proxy.exchanges[-1]
    assert (last.method, last.path, last.query) == ("PUT", "/a", {"slug": ["t"]})
    assert last.request_headers["x-tag"] == last.response_headers["X-TAG"] == "a+/="


def test_proxy_closes_the_connection_if_the_server_disconnects_between_requests(
    stack: ExitStack,
) -> None:
    _, proxy, client = _start(stack, (SIZED, SIZED_ANSWER))

    client.sendall(SIZED)

    assert _read(client, len(SIZED_ANSWER) + 1) == SIZED_ANSWER
    eventually(lambda: proxy.connections == 0)


def test_proxy_closes_the_connection_if_the_server_disconnects_without_a_response(
    stack: ExitStack,
) -> None:
    _, proxy, client = _start(stack, (SIZED, b""))

    client.sendall(SIZED)

    assert client.recv(1) == b""
    eventually(lambda: len(proxy.exchanges) == 1)
    assert proxy.exchanges[0].status is None
    assert proxy.exchanges[0].request_body == b"hello"


def test_proxy_closes_the_connection_if_the_server_is_unreachable(stack: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    proxy = stack.enter_context(RecordingProxy(url))
    client = stack.enter_context(_connect(proxy))

    client.sendall(SIZED)

    assert client.recv(1) == b""
    eventually(lambda: len(proxy.exchanges) == 1)
    assert proxy.exchanges[0].status is None


def test_proxy_records_the_response_if_the_client_disconnects_early(stack: ExitStack) -> None:
    _, proxy, client = _start(stack, (SIZED, SIZED_ANSWER))

    client.sendall(SIZED)
    client.close()

    eventually(lambda: len(proxy.exchanges) == 1)
    assert proxy.exchanges[0].status == 200


def _start(
    stack: ExitStack, *steps: tuple[bytes, bytes]
) -> tuple[Script, RecordingProxy, socket.socket]:
    server = Script(*steps)
    stack.callback(server.close)
    proxy = stack.enter_context(RecordingProxy(server.url))
    return server, proxy, stack.enter_context(_connect(proxy))


def _connect(proxy: RecordingProxy) -> socket.socket:
    address = urlsplit(proxy.url)
    assert address.hostname is not None
    assert address.port is not None
    return socket.create_connection((address.hostname, address.port), TIMEOUT_S)


def _read(source: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size and (piece := source.recv(size - len(content))):
        content += piece
    return content
