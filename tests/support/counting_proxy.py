"""A proxy that counts for itself what passes between clients and a server that comes and goes.

Leaner than `tests/clients/proxy.py`, and another in two things: who hangs up on one side hangs up
on the other, at once; and of bodies it keeps the length, and the digest of what was asked. It
takes few bytes ahead of its client, so that what it has counted is what the client has, nearly.
"""

import hashlib
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

_RECEIVE_BYTES = 64 * 1024
_TIMEOUT_S = 30.0
_PIECE_BYTES = 64 * 1024
_NO_BODY = {204, 304}


@dataclass
class Exchange:
    """One request, and as much of its answer as came."""

    method: str
    path: str
    authorization: str
    asked_bytes: int = 0
    asked_digest: str = ""
    asked_whole: bool = False
    status: int | None = None
    announced_bytes: int = 0
    answered_bytes: int = 0
    answered_whole: bool = False


@dataclass
class CountingProxy:
    """Listens on `port` from `with` to its end; `exchanges` are those that have ended."""

    server_port: int
    exchanges: list[Exchange] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            client.settimeout(_TIMEOUT_S)
            server.settimeout(_TIMEOUT_S)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            with suppress(OSError), client.makefile("rb") as asked:
                server.connect(("127.0.0.1", self.server_port))
                with server.makefile("rb") as answered:
                    while self._pass(client, asked, server, answered):
                        pass

    def _pass(
        self, client: socket.socket, asked: BinaryIO, server: socket.socket, answered: BinaryIO
    ) -> bool:
        """One exchange; whether the connection goes on."""
        head = _head(asked)
        if not head:
            return False
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        exchange = Exchange(method, path, _header(head, b"authorization") or "")
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer all the same
                server.sendall(head)
                _pass_question(exchange, head, asked, server)
            _pass_answer(exchange, answered, client)
        except OSError:
            return False
        finally:
            with self._lock:
                self.exchanges.append(exchange)
        return exchange.answered_whole and exchange.asked_whole


def _pass_question(exchange: Exchange, head: bytes, asked: BinaryIO, server: socket.socket) -> None:
    digest = hashlib.sha256()
    if _header(head, b"transfer-encoding") == "chunked":
        while size := int(line := asked.readline() or b"!", 16):
            chunk = asked.read(size + 2)
            server.sendall(line + chunk)
            digest.update(chunk[:size])
            exchange.asked_bytes += len(chunk[:size])
        server.sendall(line + asked.readline())
    else:
        left = int(_header(head, b"content-length") or 0)
        while left > 0:
            piece = asked.read1(min(left, _PIECE_BYTES))  # type: ignore[attr-defined]  # reason: buffered
            if not piece:
                server.shutdown(socket.SHUT_WR)  # the client went away in the middle
                raise OSError("cut")
            server.sendall(piece)
            digest.update(piece)
            exchange.asked_bytes += len(piece)
            left -= len(piece)
    exchange.asked_digest = digest.hexdigest()
    exchange.asked_whole = True


def _pass_answer(exchange: Exchange, answered: BinaryIO, client: socket.socket) -> None:
    head = _head(answered)
    if not head:
        return
    exchange.status = int(head.split(b" ", 2)[1])
    client.sendall(head)
    if exchange.method != "HEAD" and exchange.status not in _NO_BODY:
        exchange.announced_bytes = left = int(_header(head, b"content-length") or 0)
        while left > 0:
            piece = answered.read1(min(left, _PIECE_BYTES))  # type: ignore[attr-defined]  # reason: buffered
            if not piece:
                return
            left -= len(piece)
            exchange.answered_bytes += len(piece)
            client.sendall(piece)
    exchange.answered_whole = True


def _head(source: BinaryIO) -> bytes:
    """The first line and the headers, or nothing when the peer is gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = source.readline()
        if not line:
            return b""
        head += line
    return head


def _header(head: bytes, name: bytes) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return (
                value.strip().decode().lower()
                if name != b"authorization"
                else value.decode().strip()
            )
    return None
