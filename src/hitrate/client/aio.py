"""The client for asyncio and trio. All that needs no waiting stands in the modules beside it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import anyio
import anyio.to_thread
import httpx

from hitrate.client import _operations as operations
from hitrate.client._connection import connection, made_by_httpx
from hitrate.client._content import CHUNK_BYTES, AsyncUploadable, Content, whole_file
from hitrate.client._operations import Call
from hitrate.client._options import (
    CallOptions,
    DownloadOptions,
    EventOptions,
    Progress,
    UploadOptions,
)
from hitrate.client._responses import error_of, metadata_of, translated
from hitrate.client._retry import Attempts, checked_retries
from hitrate.client.errors import BadRequest, HitrateError
from hitrate.client.models import (
    Artifact,
    ArtifactMetadata,
    DeleteResponse,
    EventLike,
    QueryResponse,
    StatusResponse,
    UploadResponse,
)

Answer = TypeVar("Answer")


class AsyncHitrate:
    """As `Hitrate`, for asynchronous programs; tasks may share one."""

    def __init__(
        self,
        bearer_token: str | None = None,
        *,
        server_url: str | None = None,
        team_id: str | None = None,
        slug: str | None = None,
        timeout: float | httpx.Timeout = 30.0,
        retries: int = 2,
        max_pause: float = 60.0,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self._connection = connection(bearer_token, server_url, team_id, slug, timeout)
        self._retries = checked_retries(retries)
        self._max_pause_s = max_pause
        self._owned = http_client is None
        self._http = http_client or self._made()
        self._pid = os.getpid()
        self._sleep: Callable[[float], Awaitable[None]] = anyio.sleep
        self.artifacts = AsyncArtifacts(self)

    def __repr__(self) -> str:
        return f"AsyncHitrate({self._connection})"

    @property
    def team_id(self) -> str | None:
        """The team's id, if it was given as one."""
        return self._connection.team_id

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def call(
        self, call: Call[Answer], options: CallOptions, *, retries: int | None = None
    ) -> Answer:
        """The answer to one of `_operations`. Raises HitrateError."""

        async def attempt() -> Answer:
            async with aclosing(await self.send(call, options)) as response:
                with translated(response.url.host):
                    await response.aread()
                return call.read(response)

        return await self.attempted(call, attempt, retries)

    async def attempted(
        self,
        call: Call[Any],
        attempt: Callable[[], Awaitable[Answer]],
        retries: int | None = None,
    ) -> Answer:
        """What `attempt` gives, which is made again while a failure may pass."""
        attempts = Attempts(call, self._retries if retries is None else retries, self._max_pause_s)
        while True:
            try:
                return await attempt()
            except HitrateError as error:
                pause = attempts.pause_after(error)
            await self._sleep(pause)

    async def send(self, call: Call[Any], options: CallOptions) -> httpx.Response:
        """An answer that its caller reads and closes. Raises what it stands for if an error."""
        http = self._connections()
        async with _chunks_of(call.content) as content:
            with translated(self._connection.url, call.content):
                request = http.build_request(
                    content=content, **self._connection.request(call, options)
                )
                response = await http.send(request, stream=True)
                if call.accepts(response):
                    return response
                try:
                    await response.aread()
                finally:
                    await response.aclose()
        raise error_of(response)

    def _connections(self) -> httpx.AsyncClient:
        """Our own; a forked process must not read what its parent was answered."""
        if self._http.is_closed:
            raise BadRequest("The client is closed.")
        if self._pid != os.getpid():
            if not self._owned:
                raise BadRequest("This is a forked process: make it a client of its own.")
            # Kept, because to let go of it could close what the parent still uses.
            self._inherited, self._http = self._http, self._made()
            self._pid = os.getpid()
        return self._http

    @staticmethod
    def _made() -> httpx.AsyncClient:
        with made_by_httpx():
            return httpx.AsyncClient()


@asynccontextmanager
async def _chunks_of(
    content: bytes | Content | None,
) -> AsyncIterator[bytes | AsyncIterator[bytes] | None]:
    """What httpx is to send; its source is left when the request is over, or was cancelled."""
    if isinstance(content, Content):
        async with aclosing(content.async_chunks()) as chunks:
            yield chunks
    else:
        yield content


class AsyncArtifacts:
    """The seven operations, reached as `client.artifacts`; each raises HitrateError."""

    def __init__(self, client: AsyncHitrate) -> None:
        self._client = client

    async def record_events(
        self, request_body: Sequence[EventLike], **options: Unpack[EventOptions]
    ) -> None:
        """Record cache usage events."""
        await self._client.call(operations.record_events(request_body, options), options)

    async def status(self, **options: Unpack[CallOptions]) -> StatusResponse:
        """Whether Remote Caching is enabled for the team."""
        return await self._client.call(operations.status(options), options)

    async def upload(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        content: AsyncUploadable,
        **options: Unpack[UploadOptions],
    ) -> UploadResponse:
        """Store an artifact, or replace it.

        `content`: bytes, a path, a file open for reading bytes, or an iterator of
        bytes, asynchronous or not. An
        iterator is sent once, whatever happens; Vercel wants its `content_length`.
        """
        return await self._client.call(operations.upload(hash, content, options), options)

    async def download(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> Artifact:
        """The artifact, in memory. Raises NotFound."""
        call = operations.download(hash, options)

        async def attempt() -> Artifact:
            async with aclosing(await self._client.send(call, options)) as response:
                download = AsyncDownload(response, options.get("progress"))
                return Artifact(b"".join([chunk async for chunk in download]), download.metadata)

        return await self._client.attempted(call, attempt)

    async def download_to(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        path: os.PathLike[str] | str,
        **options: Unpack[DownloadOptions],
    ) -> ArtifactMetadata:
        """The artifact, as a file that is there when it is whole. Raises NotFound, OSError."""
        call = operations.download(hash, options)

        async def attempt() -> ArtifactMetadata:
            async with aclosing(await self._client.send(call, options)) as response:
                download = AsyncDownload(response, options.get("progress"))
                with whole_file(path) as file:
                    async for chunk in download:
                        await anyio.to_thread.run_sync(file.write, chunk)
                return download.metadata

        return await self._client.attempted(call, attempt)

    @asynccontextmanager
    async def stream(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> "AsyncIterator[AsyncDownload]":
        """The artifact in chunks: `async with artifacts.stream(hash) as d: async for chunk in d`.

        Raises NotFound. What fails between chunks is not tried again.
        """
        call = operations.download(hash, options)
        response = await self._client.attempted(call, lambda: self._client.send(call, options))
        async with aclosing(response):
            yield AsyncDownload(response, options.get("progress"))

    async def exists(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[CallOptions],
    ) -> ArtifactMetadata | None:
        """What is known of the artifact; None if it is not there."""
        return await self._client.call(operations.exists(hash, options), options)

    async def query(self, hashes: Sequence[str], **options: Unpack[CallOptions]) -> QueryResponse:
        """What is known of each of many artifacts; None for those that are not there."""
        return await self._client.call(operations.query(hashes, options), options)

    async def delete_all(self, **options: Unpack[CallOptions]) -> DeleteResponse:
        """Empty the team's cache."""
        return await self._client.call(operations.delete_all(options), options)


class AsyncDownload:
    """An artifact on its way: iterate over it for its chunks. `metadata` is there at once."""

    def __init__(self, response: httpx.Response, progress: Progress | None) -> None:
        self.metadata = metadata_of(response)
        self._response = response
        self._progress = progress

    async def __aiter__(self) -> AsyncIterator[bytes]:
        done = 0
        chunks = aiter(self._response.aiter_bytes(CHUNK_BYTES))
        while True:
            with translated(self._response.url.host):
                chunk = await anext(chunks, b"")
            if not chunk:
                return
            yield chunk
            done += len(chunk)
            if self._progress is not None:
                self._progress(done, self.metadata.size_bytes)
