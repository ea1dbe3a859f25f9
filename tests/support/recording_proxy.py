"""Owns a recording HTTP proxy between a real client and the server under test.

Promises to pass every byte on as it came (a chunked body stays chunked, a sized one sized) and as
soon as it came, and to remember each exchange, also one whose client went away before its answer
or whose server gave none. Never retries, reorders or answers for the server: when the server is
gone the client's connection is closed.
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
    """One request as it passed, and its answer; `status` is `None` if there was none."""

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
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


class RecordingProxy:
    """Listens on `url` from `open()` to `close()`, and passes all on to `upstream`.

    `before_forwarding` is called with method and path when a request's head has come and nothing
    of it has been passed on; what it does is done before the server sees the request.
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
        """All exchanges that have ended, in the order in which they ended."""
        return list(self._exchanges)

    @property
    def connections(self) -> int:
        """How many clients are connected; none means that no exchange is under way."""
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
            self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,))
            self._thread.start()

    def close(self) -> None:
        if self._listener is not None and self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._listener.hang_up()
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
    """Accepts the clients' connections, one thread each, and waits for their threads at the end."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, proxy: RecordingProxy) -> None:
        self.proxy = proxy
        self.clients: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def hang_up(self) -> None:
        """Wake the threads that wait for a client's next request."""
        for client in list(self.clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    """One client's connection and its twin to the server, which live and end together."""

    disable_nagle_algorithm = True
    server: _Listener

    def handle(self) -> None:
        self.server.clients.add(self.request)
        try:
            self._relay_all()
        except ConnectionError:
            pass  # The client was killed while it sent: nobody is left to tell.
        finally:
            self.server.clients.discard(self.request)

    def _relay_all(self) -> None:
        head = _read_head(self.rfile)
        try:
            upstream = self.server.proxy.connect() if head else None
        except OSError:
            upstream = None
        with upstream or socket.socket() as connection, connection.makefile("rb") as answers:
            while head and self._relay(head, connection, answers):
                head = self._next_head(connection)

    def _next_head(self, upstream: socket.socket) -> bytes:
        """The next request's head, or nothing when either side has hung up meanwhile.

        No client here sends one before the last was answered, so none can wait in `rfile`.
        """
        ready, _, _ = select.select([self.request, upstream], [], [])
        return b"" if upstream in ready else _read_head(self.rfile)

    def _relay(self, head: bytes, upstream: socket.socket, answers: io.BufferedIOBase) -> bool:
        """Relay one exchange; the value tells whether the connection goes on."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        hook = self.server.proxy.before_forwarding
        if hook is not None:
            hook(method, urlsplit(target).path)
        headers = _parse_headers(head)
        to_server = _Sink(upstream.sendall)
        to_server(head)
        body = _relay_body(self.rfile, headers, to_server, until_end=False)
        # Even if sending failed: a server may refuse a body before its end, and say so.
        to_client = _Sink(self.wfile.write)
        status, answer_headers, answer = _relay_answer(answers, method, to_client)
        self.server.proxy.record(
            Exchange(method, target, headers, body, status, answer_headers, answer)
        )
        closing = "close" in (answer_headers.get("connection") or "").lower()
        return status is not None and not closing and not to_client.broken


class _Sink:
    """Passes bytes on for as long as somebody takes them, and swallows them afterwards."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.broken = False

    def __call__(self, piece: bytes) -> None:
        if self.broken:
            return
        try:
            self._write(piece)
        except OSError:
            self.broken = True


def _relay_answer(
    source: io.BufferedIOBase, method: str, sink: _Sink
) -> tuple[int | None, Headers, bytes]:
    """Relay one answer, after any `100 Continue`; a broken one has no status."""
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
    """Relay the body that `headers` announce and give its content, chunk framing taken off.

    Without an announcement it is empty, or lasts until the connection's end.
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
        piece = _read_some(source, 65536 if size is None else size - len(content))
        if not piece:
            if size is None:
                break
            raise ConnectionResetError("the body ended before its announced size")
        sink(piece)
        content += piece
    return content


def _relay_chunks(source: io.BufferedIOBase, sink: _Sink) -> bytes:
    content = b""
    while size := int((line := _read_line(source, sink)).split(b";")[0], 16):
        piece = source.read(size + len(b"\r\n"))
        sink(piece)
        content += piece[:size]
    while line.strip():  # The trailers, up to an empty line.
        line = _read_line(source, sink)
    return content


def _read_line(source: io.BufferedIOBase, sink: _Sink) -> bytes:
    line = source.readline()
    if not line:
        raise ConnectionResetError("the body ended before its last chunk")
    sink(line)
    return line


def _read_some(source: io.BufferedIOBase, most: int) -> bytes:
    """What is there already, so that bytes are passed on when they come."""
    return source.read1(most)


def _read_head(source: io.BufferedIOBase) -> bytes:
    """The request or status line and the headers, or nothing if the peer has hung up."""
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
