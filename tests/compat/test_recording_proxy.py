"""The recording proxy forwards bytes unchanged; the other tests here rely on it."""

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
SIZED_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-tag: a+/=\r\n\r\nhello"
CHUNKED_RESPONSE = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
UNSIZED_RESPONSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
HEAD_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
EMPTY_RESPONSE = b"HTTP/1.1 204 No Content\r\n\r\n"


class ScriptedServer:
    """A server for one connection that reads exact requests and sends exact responses."""

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
            for request, response in self.steps:
                self.received.append(_read(connection, len(request)))
                connection.sendall(response)

    def close(self) -> None:
        self.thread.join(TIMEOUT_S)
        self.listener.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("request_", "response", "request_body", "response_body"),
    [
        (SIZED, SIZED_RESPONSE, b"hello", b"hello"),
        (CHUNKED, CHUNKED_RESPONSE, b"hello", b"hello"),
        (SIZED, UNSIZED_RESPONSE, b"hello", b"hello"),
        (SIZED, b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED_RESPONSE, b"hello", b"hello"),
        (HEAD, HEAD_RESPONSE, b"", b""),
        (PREFLIGHT, EMPTY_RESPONSE, b"", b""),
    ],
    ids=["content-length", "chunked", "until close", "after 100", "HEAD", "preflight"],
)
def test_proxy_forwards_bytes_unchanged_and_records_their_content(
    stack: ExitStack, request_: bytes, response: bytes, request_body: bytes, response_body: bytes
) -> None:
    server, proxy, client = _start(stack, (request_, response))

    client.sendall(request_)

    assert _read(client, len(response)) == response
    assert server.received == [request_]
    eventually(lambda: len(proxy.exchanges) == 1)
    [exchange] = proxy.exchanges
    assert exchange.status in {200, 204}
    assert (exchange.request_body, exchange.response_body) == (request_body, response_body)


def test_proxy_forwards_consecutive_requests_on_one_connection(stack: ExitStack) -> None:
    server, proxy, client = _start(stack, (HEAD, HEAD_RESPONSE), (SIZED, SIZED_RESPONSE))

    for request, response in server.steps:
        client.sendall(request)
        assert _read(client, len(response)) == response

    eventually(lambda: len(proxy.exchanges) == 2)
    last = proxy.exchanges[-1]
    assert (last.method, last.path, last.query) == ("PUT", "/a", {"slug": ["t"]})
    assert last.request_headers["x-tag"] == last.response_headers["X-TAG"] == "a+/="


def test_proxy_closes_the_connection_if_the_server_disconnects_between_requests(
    stack: ExitStack,
) -> None:
    _, proxy, client = _start(stack, (SIZED, SIZED_RESPONSE))

    client.sendall(SIZED)

    assert _read(client, len(SIZED_RESPONSE) + 1) == SIZED_RESPONSE
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
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    proxy = stack.enter_context(RecordingProxy(url))
    client = stack.enter_context(_connect(proxy))

    client.sendall(SIZED)

    assert client.recv(1) == b""
    eventually(lambda: len(proxy.exchanges) == 1)
    assert proxy.exchanges[0].status is None


def test_proxy_records_the_response_if_the_client_disconnects_early(stack: ExitStack) -> None:
    _, proxy, client = _start(stack, (SIZED, SIZED_RESPONSE))

    client.sendall(SIZED)
    client.close()

    eventually(lambda: len(proxy.exchanges) == 1)
    assert proxy.exchanges[0].status == 200


def _start(
    stack: ExitStack, *steps: tuple[bytes, bytes]
) -> tuple[ScriptedServer, RecordingProxy, socket.socket]:
    server = ScriptedServer(*steps)
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
    while len(content) < size and (chunk := source.recv(size - len(content))):
        content += chunk
    return content
