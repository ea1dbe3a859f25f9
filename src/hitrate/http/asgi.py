"""ASGI request and response of the hot paths. Independent of routes, teams and permissions."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, BinaryIO

import msgspec

from hitrate.errors import BadRequest, PayloadTooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]

MAX_DRAIN_BYTES = 16 * 2**20
DRAIN_TIMEOUT_S = 5.0

STREAM_CHUNK_BYTES = 512 * 1024
"""A file up to this size is sent by its path; a larger one is streamed in chunks of this size."""

JSON: Header = (b"content-type", b"application/json")


class Request:
    """One HTTP request.

    `headers` maps lower-case names to values; the last value of a repeated header counts.
    """

    __slots__ = (
        "_body_complete",
        "headers",
        "id",
        "path",
        "query_string",
        "receive",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.id = request_id
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._body_complete = not (
            b"content-length" in self.headers or b"transfer-encoding" in self.headers
        )

    def text_header(self, name: bytes) -> str | None:
        """Return a header as text, or None if it was not sent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def content_length(self) -> int | None:
        """Return the Content-Length, or None if it was not sent. Raises BadRequest if invalid."""
        value = self.headers.get(b"content-length")
        if value is None:
            return None
        if not value.isdigit():
            raise BadRequest("Content-Length must be a whole number of bytes.")
        return int(value)

    async def read_chunk(self) -> tuple[bytes, bool]:
        """Return the next chunk of the body, and whether more follows.

        Raises BadRequest if the client disconnects before the body is complete.
        """
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self._body_complete = True
            raise BadRequest("The body ended before it was complete; send it again.")
        more = message.get("more_body", False)
        self._body_complete = not more
        return message.get("body", b""), more

    async def drain(self) -> None:
        """Read and discard the rest of the body, within limits of size and time.

        A client that is still sending when its connection closes sees a broken pipe instead of
        the error response.
        """
        remaining = MAX_DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while not self._body_complete and remaining > 0:
                    chunk, _ = await self.read_chunk()
                    remaining -= len(chunk)
        except (BadRequest, TimeoutError):
            return

    @property
    def has_unread_body(self) -> bool:
        """Whether some of the body has not been read."""
        return not self._body_complete

    async def body(self, limit_bytes: int) -> bytes:
        """Return the complete body.

        Raises PayloadTooLarge, before reading if Content-Length exceeds the limit, and BadRequest.
        """
        content_length = self.content_length()
        if content_length is not None and content_length > limit_bytes:
            raise body_too_large(limit_bytes)
        chunk, more = await self.read_chunk()
        if not more:
            return chunk
        chunks, size_bytes = [chunk], len(chunk)
        while more:
            chunk, more = await self.read_chunk()
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise body_too_large(limit_bytes)
            chunks.append(chunk)
        return b"".join(chunks)


def body_too_large(limit_bytes: int, option: str = "--max-body-bytes") -> PayloadTooLarge:
    """Create the error for a body that exceeds a limit. `option` is the setting of the limit."""
    return PayloadTooLarge(
        f"The body is larger than {limit_bytes} bytes, the limit of this server; "
        f"send less at a time or have its operator raise {option}."
    )


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Amounts that a request has stored; they are metered before the response is sent."""

    uploaded_bytes: int = 0
    events: int = 0
    spool_position: tuple[str, int] | None = None
    """Segment name and end offset of the events in the spool."""


class Response:
    """Status, headers, and a body: either bytes or a file of `file_bytes`.

    A file up to STREAM_CHUNK_BYTES is given by its path, a larger one as an open file, which
    `send` closes. `usage` is what the request stored, if anything.
    """

    __slots__ = ("body", "file", "file_bytes", "headers", "status", "usage")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: tuple[Header, ...] = (JSON,),
        file: str | BinaryIO | None = None,
        file_bytes: int = 0,
        usage: Usage | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.file = file
        self.file_bytes = file_bytes
        self.usage = usage

    @property
    def inline_bytes(self) -> int:
        """Size of a file that is sent by its path; 0 for a streamed file."""
        return self.file_bytes if isinstance(self.file, str) else 0

    async def send(self, request: Request, send: Send, on_chunk: Callable[[int], None]) -> None:
        """Send the response.

        A streamed file is sent chunk by chunk as the connection accepts more, so that bytes
        which a disconnected client did not receive are not counted. `on_chunk` is called
        with the size of each chunk, just before it is sent.
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
                await _stream(file, self.file_bytes, request.receive, send, on_chunk)


async def _stream(
    file: BinaryIO,
    remaining: int,
    receive: Receive,
    send: Send,
    on_chunk: Callable[[int], None],
) -> None:
    disconnected = asyncio.ensure_future(wait_for_disconnect(receive))
    try:
        while remaining > 0:
            chunk = await asyncio.to_thread(file.read, min(STREAM_CHUNK_BYTES, remaining))
            remaining -= len(chunk)
            if disconnected.done() or not chunk:
                return
            on_chunk(len(chunk))
            await send({"type": "http.response.body", "body": chunk, "more_body": remaining > 0})
    finally:
        disconnected.cancel()


async def wait_for_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return when the client has disconnected. Discards the rest of the body."""
    while (await receive())["type"] != "http.disconnect":
        pass
