"""What a hot route sees of HTTP: a request with a bounded body, a response to give back.

Nothing here knows of routes, teams or errors' meaning.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hitrate.errors import BadRequest, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]

_DRAIN_MOST_BYTES = 16 * 2**20
_DRAIN_MOST_S = 5.0

JSON: Header = (b"content-type", b"application/json")


class Request:
    """One request. `headers` has lower-case names; of a repeated header the last counts."""

    __slots__ = ("_ended", "headers", "id", "path", "query_string", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.id = request_id
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
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
        """The whole body. Raises TooLarge, before reading it where its length was announced."""
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


def body_too_large(limit_bytes: int, option: str = "--max-body-bytes") -> TooLarge:
    """The refusal of a body that passes a limit, naming the option that sets it."""
    return TooLarge(
        f"The body is larger than {limit_bytes} bytes, the limit of this server; "
        f"send less at a time or have its operator raise {option}."
    )


class Response:
    """Status, headers, and either bytes or the path of a file that is the body."""

    __slots__ = ("body", "file", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: tuple[Header, ...] = (JSON,),
        file: str | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.file = file

    async def send(self, send: Send, request_id: str) -> None:
        """Put it on the wire; a file goes straight to the socket."""
        headers = [*self.headers, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.file is None:
            await send({"type": "http.response.body", "body": self.body})
        else:
            await send({"type": "http.response.pathsend", "path": self.file})
