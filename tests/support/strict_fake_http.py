"""HTTP/1.1 server of the strict fake, which checks the framing of requests byte by byte.

It reads each request as far as its length is known, and passes it on with all framing violations.
It knows nothing about the API, and listens only on the loopback interface.
"""

from __future__ import annotations

import io
import re
import reprlib
import socket
import socketserver
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl

BODYLESS_STATUSES = {204, 304}


@dataclass(frozen=True)
class ReceivedRequest:
    """One request, with header names in lower case and without chunk framing."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass(frozen=True)
class RawResponse:
    """A response. With `keep_bytes`, the connection is closed after so many bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    keep_bytes: int | None = None


# Returns the response to a request with these framing violations, or None to disconnect.
Responder = Callable[[ReceivedRequest, list[str]], RawResponse | None]


class FakeHttpServer(socketserver.ThreadingTCPServer):
    """Accepts connections, one thread each, and joins the threads when it is closed."""

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, responder: Responder) -> None:
        self.responder = responder
        self.connections: set[Any] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)  # before its thread starts, so that none is missed
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def shutdown_connections(self) -> None:
        """Wake up the threads that wait for a client's next request."""
        for client in list(self.connections):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    """A client's connection, kept open as long as the end of each request is known."""

    disable_nagle_algorithm = True
    server: FakeHttpServer

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has disconnected
            while line := self.rfile.readline():
                if not self._serve(line.decode("latin-1").rstrip("\r\n")):
                    break

    def _serve(self, line: str) -> bool:
        """Read one request and respond. Return whether the connection stays open."""
        violations: list[str] = []
        request = _read_request(line, self.rfile, violations)
        if (response := self.server.responder(request, violations)) is None:
            return False
        keep_alive = not violations and request.headers.get("connection", "").lower() != "close"
        headers = response.headers if keep_alive else {**response.headers, "connection": "close"}
        head = [f"HTTP/1.1 {response.status} {responses.get(response.status, '')}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        bodyless = request.method == "HEAD" or response.status in BODYLESS_STATUSES
        body = b"" if bodyless else response.body[: response.keep_bytes]
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        return keep_alive and response.keep_bytes is None


def _read_request(line: str, stream: io.BufferedIOBase, violations: list[str]) -> ReceivedRequest:
    """Read the request that begins with `line`; after a violation its end is unknown."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":
        violations.append(f"the request line is {reprlib.repr(line)}")
        return ReceivedRequest(parts[0], "".join(parts[1:2]), {}, b"")
    headers = _read_headers(stream, violations)
    return ReceivedRequest(parts[0], parts[1], headers, _read_body(headers, stream, violations))


def _read_headers(stream: io.BufferedIOBase, violations: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not line.isascii() or not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name):
            violations.append(f"the header line {reprlib.repr(line)} is malformed")
        elif name.lower() in headers:
            violations.append(f"{name.lower()} is repeated")
        headers[name.lower()] = value.strip()
    return headers


def _read_body(headers: dict[str, str], stream: io.BufferedIOBase, violations: list[str]) -> bytes:
    size, encoding = headers.get("content-length"), headers.get("transfer-encoding")
    if size is not None and encoding is not None:
        violations.append("content-length and transfer-encoding are both present")
    if encoding == "chunked":
        return _read_chunks(stream, violations)
    if encoding is not None or not re.fullmatch("[0-9]{1,12}", size or "0"):
        violations.append(f"content-length is {size!r}, transfer-encoding {encoding!r}")
        return b""
    body = stream.read(int(size or "0"))
    if size is not None and len(body) < int(size):
        violations.append(f"content-length is {size}, but the body has {len(body)} bytes")
    return body


def _read_chunks(stream: io.BufferedIOBase, violations: list[str]) -> bytes:
    """Read chunks up to the empty one; extensions and trailers are violations."""
    content = b""
    while re.fullmatch(rb"[0-9A-Fa-f]{1,8}\r\n", line := stream.readline()):
        size = int(line, 16)
        chunk = stream.read(size + len(b"\r\n"))
        content += chunk[:size]
        if chunk[size:] != b"\r\n":
            break
        if size == 0:
            return content
    violations.append(f"the chunks end early, after {len(content)} bytes")
    return content
