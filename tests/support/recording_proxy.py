"""HTTP proxy that records each exchange between a real client and the server under test.

It forwards every byte unchanged and immediately: a chunked body stays chunked. It also records an
exchange whose client disconnects before the response, or whose server sends none. It never retries,
reorders or responds itself: if the server disconnects, the client's connection is closed.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

Headers = http.client.HTTPMessage
UPSTREAM_TIMEOUT_S = 30
BODYLESS_STATUSES = {204, 304}


@dataclass(frozen=True)
class Exchange:
    """One request and its response; `status` is None without a response."""

    method: str
    target: str
    request_headers: Headers
    request_body: bytes
    status: int | None
    response_headers: Headers
    response_body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def artifact_hash(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


class RecordingProxy:
    """Listens on `url` from `open()` to `close()`, and forwards everything to `upstream`.

    `before_forwarding` is called with method and path after a request's head was read and before
    anything of it is forwarded.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.before_forwarding: Callable[[str, str], None] | None = None
        self._exchanges: list[Exchange] = []
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        assert self._listener is not None, "the proxy is not open"
        host, port = self._listener.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def exchanges(self) -> list[Exchange]:
        """All finished exchanges, in the order in which they finished."""
        return list(self._exchanges)

    @property
    def connections(self) -> int:
        """The number of connected clients; with none, no exchange is in progress."""
        return len(self._listener.clients) if self._listener is not None else 0

    def record(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)

    def connect(self) -> socket.socket:
        address = urlsplit(self.upstream)
        assert address.hostname is not None
        assert address.port is not None
        upstream = socket.create_connection((address.hostname, address.port), UPSTREAM_TIMEOUT_S)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return upstream

    def open(self) -> None:
        if self._listener is None:
            self._listener = _Listener(self)
            self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,))
            self._thread.start()

    def close(self) -> None:
        if self._listener is not None and self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._listener.shutdown_connections()
            self._listener.server_close()
            self._listener = self._thread = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections, one thread each, and joins the threads when it is closed."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, proxy: RecordingProxy) -> None:
        self.proxy = proxy
        self.clients: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def shutdown_connections(self) -> None:
        """Wake up the threads that wait for a client's next request."""
        for client in list(self.clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    """A client's connection and its own connection to the server, closed together."""

    disable_nagle_algorithm = True
    server: _Listener

    def handle(self) -> None:
        self.server.clients.add(self.request)
        try:
            self._relay_all()
        except ConnectionError:
            pass  # the client was killed while it sent a request
        finally:
            self.server.clients.discard(self.request)

    def _relay_all(self) -> None:
        head = _read_head(self.rfile)
        try:
            upstream = self.server.proxy.connect() if head else None
        except OSError:
            upstream = None
        with upstream or socket.socket() as connection, connection.makefile("rb") as responses:
            while head and self._relay(head, connection, responses):
                head = self._next_head(connection)

    def _next_head(self, upstream: socket.socket) -> bytes:
        """Return the next request's head, or nothing if either side has disconnected.

        Clients in these tests do not pipeline requests, so `rfile` has no buffered request.
        """
        ready, _, _ = select.select([self.request, upstream], [], [])
        return b"" if upstream in ready else _read_head(self.rfile)

    def _relay(self, head: bytes, upstream: socket.socket, responses: io.BufferedIOBase) -> bool:
        """Relay one exchange. Return whether the connection stays open."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        hook = self.server.proxy.before_forwarding
        if hook is not None:
            hook(method, urlsplit(target).path)
        headers = _parse_headers(head)
        to_server = _Sink(upstream.sendall)
        to_server(head)
        body = _relay_body(self.rfile, headers, to_server, until_end=False)
        # Even if sending failed: a server may reject a body before its end, with a response.
        to_client = _Sink(self.wfile.write)
        status, response_headers, response = _relay_response(responses, method, to_client)
        self.server.proxy.record(
            Exchange(method, target, headers, body, status, response_headers, response)
        )
        closing = "close" in (response_headers.get("connection") or "").lower()
        return status is not None and not closing and not to_client.broken


class _Sink:
    """Forwards bytes until writing fails, and discards them afterwards."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.broken = False

    def __call__(self, chunk: bytes) -> None:
        if self.broken:
            return
        try:
            self._write(chunk)
        except OSError:
            self.broken = True


def _relay_response(
    source: io.BufferedIOBase, method: str, sink: _Sink
) -> tuple[int | None, Headers, bytes]:
    """Relay one response, after any `100 Continue`. The status is None if it is incomplete."""
    try:
        status = 100
        while 100 <= status < 200:
            head = _read_head(source)
            if not head:
                return None, Headers(), b""
            sink(head)
            status = int(head.split(b" ", 2)[1])
        headers = _parse_headers(head)
        if method == "HEAD" or status in BODYLESS_STATUSES:
            return status, headers, b""
        return status, headers, _relay_body(source, headers, sink, until_end=True)
    except OSError:
        return None, Headers(), b""


def _relay_body(
    source: io.BufferedIOBase, headers: Headers, sink: _Sink, *, until_end: bool
) -> bytes:
    """Relay the body that `headers` describe, and return its content without chunk framing.

    Without a length the body is empty or, with `until_end`, ends with the connection.
    """
    if "chunked" in (headers.get("transfer-encoding") or "").lower():
        return _relay_chunks(source, sink)
    size = headers.get("content-length")
    if size is None and not until_end:
        return b""
    return _relay_bytes(source, None if size is None else int(size), sink)


def _relay_bytes(source: io.BufferedIOBase, size: int | None, sink: _Sink) -> bytes:
    content = b""
    while size is None or len(content) < size:
        chunk = _read_available(source, 65536 if size is None else size - len(content))
        if not chunk:
            if size is None:
                break
            raise ConnectionResetError("the body ended before its content-length")
        sink(chunk)
        content += chunk
    return content


def _relay_chunks(source: io.BufferedIOBase, sink: _Sink) -> bytes:
    content = b""
    while size := int((line := _read_line(source, sink)).split(b";")[0], 16):
        chunk = source.read(size + len(b"\r\n"))
        sink(chunk)
        content += chunk[:size]
    while line.strip():  # trailers, up to an empty line
        line = _read_line(source, sink)
    return content


def _read_line(source: io.BufferedIOBase, sink: _Sink) -> bytes:
    line = source.readline()
    if not line:
        raise ConnectionResetError("the body ended before its last chunk")
    sink(line)
    return line


def _read_available(source: io.BufferedIOBase, max_bytes: int) -> bytes:
    """Return the bytes that have arrived, so that they are forwarded immediately."""
    return source.read1(max_bytes)


def _read_head(source: io.BufferedIOBase) -> bytes:
    """Return the first line and the headers, or nothing if the peer has disconnected."""
    head = b""
    try:
        while not head.endswith(b"\r\n\r\n"):
            line = source.readline()
            if not line:
                return b""
            head += line
    except OSError:
        return b""
    return head


def _parse_headers(head: bytes) -> Headers:
    return http.client.parse_headers(io.BytesIO(head.split(b"\r\n", 1)[1]))
