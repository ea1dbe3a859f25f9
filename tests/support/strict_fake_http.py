"""Owns how the strict fake listens: its connections, and HTTP/1.1 as bytes.

Promises that a request is read to its end, as far as it can be told, before it is handed on, with
all that is wrong with its framing. Knows nothing of the API; listens on the loopback only.
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
class Received:
    """One request as it came; header names in lower case, chunk framing taken off."""

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
class Reply:
    """What goes out; of the body only `keep_bytes`, and then the connection is closed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    keep_bytes: int | None = None


# Gives the reply to a request in which such faults were seen, or None to hang up.
Take = Callable[[Received, list[str]], Reply | None]


class Listener(socketserver.ThreadingTCPServer):
    """Accepts connections, one thread each, and waits for their threads at the end."""

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, take: Take) -> None:
        self.take = take
        self.clients: set[Any] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.clients.add(request)  # Before its thread starts, so that `hang_up` misses none.
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.clients.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Wake the threads that wait for a client's next request."""
        for client in list(self.clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    """One client's connection, kept for as long as its requests can be told apart."""

    disable_nagle_algorithm = True
    server: Listener

    def handle(self) -> None:
        with suppress(ConnectionError):  # The client went away: nobody is left to tell.
            while line := self.rfile.readline():
                if not self._serve(line.decode("latin-1").rstrip("\r\n")):
                    break

    def _serve(self, line: str) -> bool:
        """Read and answer one request; the value tells whether the connection goes on."""
        faults: list[str] = []
        request = _read_request(line, self.rfile, faults)
        if (reply := self.server.take(request, faults)) is None:
            return False
        going_on = not faults and request.headers.get("connection", "").lower() != "close"
        headers = reply.headers if going_on else {**reply.headers, "connection": "close"}
        head = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        bodyless = request.method == "HEAD" or reply.status in BODYLESS_STATUSES
        body = b"" if bodyless else reply.body[: reply.keep_bytes]
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        return going_on and reply.keep_bytes is None


def _read_request(line: str, stream: io.BufferedIOBase, faults: list[str]) -> Received:
    """The request that `line` begins; any fault noted means that its end is not known."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":
        faults.append(f"the request line is {reprlib.repr(line)}")
        return Received(parts[0], "".join(parts[1:2]), {}, b"")
    headers = _read_headers(stream, faults)
    return Received(parts[0], parts[1], headers, _read_body(headers, stream, faults))


def _read_headers(stream: io.BufferedIOBase, faults: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not line.isascii() or not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name):
            faults.append(f"the header line {reprlib.repr(line)} is malformed")
        elif name.lower() in headers:
            faults.append(f"{name.lower()} is repeated")
        headers[name.lower()] = value.strip()
    return headers


def _read_body(headers: dict[str, str], stream: io.BufferedIOBase, faults: list[str]) -> bytes:
    size, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if size is not None and coding is not None:
        faults.append("content-length and transfer-encoding came together")
    if coding == "chunked":
        return _read_chunks(stream, faults)
    if coding is not None or not re.fullmatch("[0-9]{1,12}", size or "0"):
        faults.append(f"content-length is {size!r}, transfer-encoding {coding!r}")
        return b""
    body = stream.read(int(size or "0"))
    if size is not None and len(body) < int(size):
        faults.append(f"content-length is {size}, but {len(body)} bytes came")
    return body


def _read_chunks(stream: io.BufferedIOBase, faults: list[str]) -> bytes:
    """The chunks' content, up to the last, empty one; nobody needs extensions or trailers."""
    content = b""
    while re.fullmatch(rb"[0-9A-Fa-f]{1,8}\r\n", line := stream.readline()):
        size = int(line, 16)
        piece = stream.read(size + len(b"\r\n"))
        content += piece[:size]
        if piece[size:] != b"\r\n":
            break
        if size == 0:
            return content
    faults.append(f"the chunks broke off after {len(content)} bytes")
    return content
