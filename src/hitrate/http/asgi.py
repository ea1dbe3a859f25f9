"""What a hot route sees of HTTP: a request with a bounded body, a response to give back.

Nothing here knows of routes, teams or errors' meaning.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, BinaryIO

from hitrate.errors import BadRequest, PayloadTooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]

_DRAIN_MOST_BYTES = 16 * 2**20
_DRAIN_MOST_S = 5.0

PIECE_BYTES = 512 * 1024
"""A file up to this size goes out whole."""

JSON: Header = (b"content-type", b"application/json")


class Request:
    """One request. `headers` has lower-case names; of a repeated header the last counts.

    `uploaded_bytes` and `events` are what its handler stored, to be metered; `spooled` says
    where the events stand.
    """

    __slots__ = (
        "_ended",
        "events",
        "headers",
        "id",
        "path",
        "query_string",
        "receive",
        "scope",
        "spooled",
        "uploaded_bytes",
    )

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.id = request_id
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.uploaded_bytes = 0
        self.events = 0
        self.spooled: tuple[str, int] | None = None
        self._ended = not (
            b"content-length" in self.headers or b"transfer-encoding" in self.headers
        )

    def text_header(self, name: bytes) -> str | None:
        """A header as text, or None when it was not sent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def announced_length(self) -> int | None:
        """The Content-Length that was sent. Raises BadRequest when it is no number."""
        value = self.headers.get(b"content-length")
        if value is None:
            return None
        if not value.isdigit():
            raise BadRequest("Content-Length must be a whole number of bytes.")
        return int(value)

    async def chunk(self) -> tuple[bytes, bool]:
        """The next piece of the body and whether more follows.

        Raises BadRequest when the client stops before its body is complete.
        """
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            raise BadRequest("The body ended before it was complete; send it again.")
        more = message.get("more_body", False)
        self._ended = not more
        return message.get("body", b""), more

    async def drain(self) -> None:
        """Read and forget what is left of a body that nobody wanted, if it is not too much.

        A client that is still sending when its connection closes sees a broken pipe, not the
        answer that says why it was refused.
        """
        left = _DRAIN_MOST_BYTES
        try:
            async with asyncio.timeout(_DRAIN_MOST_S):
                while not self._ended and left > 0:
                    chunk, _ = await self.chunk()
                    left -= len(chunk)
        except (BadRequest, TimeoutError):
            return

    @property
    def unread(self) -> bool:
        """Whether some of the body is still to be read."""
        return not self._ended

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises PayloadTooLarge, before reading it if Content-Length says so."""
        announced = self.announced_length()
        if announced is not None and announced > limit_bytes:
            raise body_too_large(limit_bytes)
        chunk, more = await self.chunk()
        if not more:
            return chunk
        chunks, size = [chunk], len(chunk)
        while more:
            chunk, more = await self.chunk()
            size += len(chunk)
            if size > limit_bytes:
                raise body_too_large(limit_bytes)
            chunks.append(chunk)
        return b"".join(chunks)


def body_too_large(limit_bytes: int, option: str = "--max-body-bytes") -> PayloadTooLarge:
    """The refusal of a body that passes a limit, naming the option that sets it."""
    return PayloadTooLarge(
        f"The body is larger than {limit_bytes} bytes, the limit of this server; "
        f"send less at a time or have its operator raise {option}."
    )


class Response:
    """Status, headers, and the body: bytes, or a file of `file_bytes`: a small one by its path, one
    that is larger than PIECE_BYTES opened."""

    __slots__ = ("body", "file", "file_bytes", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: tuple[Header, ...] = (JSON,),
        file: str | BinaryIO | None = None,
        file_bytes: int = 0,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.file = file
        self.file_bytes = file_bytes

    @property
    def sent_at_once(self) -> int:
        """How many bytes of a file go out in one go: none when it is sent in pieces."""
        return self.file_bytes if isinstance(self.file, str) else 0

    async def send(self, request: Request, send: Send, on_piece: Callable[[int], None]) -> None:
        """Put it on the wire.

        A small file goes straight to the socket. A large one goes in pieces, each when there is
        room for it, so that what a client that goes away did not take is not counted as sent;
        `on_piece` is told the size of each before it goes.
        """
        headers = [*self.headers, (b"x-request-id", request.id.encode())]
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start)
        if self.file is None:
            await send({"type": "http.response.body", "body": self.body})
        elif isinstance(self.file, str):
            await send({"type": "http.response.pathsend", "path": self.file})
        else:
            with self.file as file:
                await _send_pieces(file, self.file_bytes, request.receive, send, on_piece)


async def _send_pieces(
    file: BinaryIO, left: int, receive: Receive, send: Send, on_piece: Callable[[int], None]
) -> None:
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, left))
            left -= len(piece)
            if gone.done() or not piece:
                return
            on_piece(len(piece))
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
    finally:
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
