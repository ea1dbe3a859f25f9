"""A proxy that counts the bytes that pass between clients and a server that is restarted.

Unlike `recording_proxy`, it closes both connections as soon as one is closed, and it records only
the length of bodies and the digest of request bodies. It reads little ahead of the client, so its
counts nearly equal what the client has received.
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
_CHUNK_BYTES = 64 * 1024
_NO_BODY = {204, 304}


@dataclass
class CountedExchange:
    """One request, and the part of its response that arrived. `status` is None without any."""

    method: str
    path: str
    authorization: str
    request_bytes: int = 0
    request_digest: str = ""
    request_complete: bool = False
    status: int | None = None
    content_length: int = 0
    response_bytes: int = 0
    response_complete: bool = False


@dataclass
class CountingProxy:
    """Listens on `port` while its `with` block runs. `exchanges` holds the finished exchanges."""

    server_port: int
    exchanges: list[CountedExchange] = field(default_factory=list)

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
            with suppress(OSError), client.makefile("rb") as requests:
                server.connect(("127.0.0.1", self.server_port))
                with server.makefile("rb") as responses:
                    while self._forward(client, requests, server, responses):
                        pass

    def _forward(
        self, client: socket.socket, requests: BinaryIO, server: socket.socket, responses: BinaryIO
    ) -> bool:
        """Forward one exchange. Return whether the connection can be reused."""
        head = _read_head(requests)
        if not head:
            return False
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        exchange = CountedExchange(method, path, _header(head, b"authorization") or "")
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # the server may still respond
                server.sendall(head)
                _forward_request(exchange, head, requests, server)
            _forward_response(exchange, responses, client)
        except OSError:
            return False
        finally:
            with self._lock:
                self.exchanges.append(exchange)
        return exchange.response_complete and exchange.request_complete


def _forward_request(
    exchange: CountedExchange, head: bytes, requests: BinaryIO, server: socket.socket
) -> None:
    digest = hashlib.sha256()
    if _header(head, b"transfer-encoding") == "chunked":
        while size := int(line := requests.readline() or b"!", 16):
            chunk = requests.read(size + 2)
            server.sendall(line + chunk)
            digest.update(chunk[:size])
            exchange.request_bytes += len(chunk[:size])
        server.sendall(line + requests.readline())
    else:
        remaining = int(_header(head, b"content-length") or 0)
        while remaining > 0:
            chunk = requests.read1(min(remaining, _CHUNK_BYTES))  # type: ignore[attr-defined]  # reason: buffered
            if not chunk:
                server.shutdown(socket.SHUT_WR)  # the client disconnected
                raise OSError("request was cut off")
            server.sendall(chunk)
            digest.update(chunk)
            exchange.request_bytes += len(chunk)
            remaining -= len(chunk)
    exchange.request_digest = digest.hexdigest()
    exchange.request_complete = True


def _forward_response(
    exchange: CountedExchange, responses: BinaryIO, client: socket.socket
) -> None:
    head = _read_head(responses)
    if not head:
        return
    exchange.status = int(head.split(b" ", 2)[1])
    client.sendall(head)
    if exchange.method != "HEAD" and exchange.status not in _NO_BODY:
        exchange.content_length = remaining = int(_header(head, b"content-length") or 0)
        while remaining > 0:
            chunk = responses.read1(min(remaining, _CHUNK_BYTES))  # type: ignore[attr-defined]  # reason: buffered
            if not chunk:
                return
            remaining -= len(chunk)
            exchange.response_bytes += len(chunk)
            client.sendall(chunk)
    exchange.response_complete = True


def _read_head(source: BinaryIO) -> bytes:
    """Read the first line and the headers; empty if the peer has disconnected."""
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
