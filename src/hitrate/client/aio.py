"""The client for asyncio and trio. Only waiting is here; the rest is shared with `sync`."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import anyio
import anyio.to_thread
import httpx

from hitrate.client import _operations as operations
from hitrate.client._connection import connection, map_setup_errors
from hitrate.client._content import CHUNK_BYTES, AsyncUploadable, Content, atomic_write
from hitrate.client._operations import Call
from hitrate.client._options import (
    CallOptions,
    DownloadOptions,
    EventOptions,
    Progress,
    UploadOptions,
)
from hitrate.client._responses import (
    error_from_response,
    map_transport_errors,
    metadata_from_headers,
)
from hitrate.client._retry import Attempts, validate_retries
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

ResponseT = TypeVar("ResponseT")


class AsyncHitrate:
    """Asynchronous `Hitrate` with the same arguments; tasks may share one."""

    def __init__(
        self,
        bearer_token: str | None = None,
        *,
        server_url: str | None = None,
        team_id: str | None = None,
        slug: str | None = None,
        timeout: float | httpx.Timeout = 30.0,
        retries: int = 2,
        max_backoff: float = 60.0,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self._connection = connection(bearer_token, server_url, team_id, slug, timeout)
        self._retries = validate_retries(retries)
        self._max_backoff_s = max_backoff
        self._owns_http_client = http_client is None
        self._http = http_client or self._create_http_client()
        self._pid = os.getpid()
        self._sleep: Callable[[float], Awaitable[None]] = anyio.sleep
        self.artifacts = AsyncArtifacts(self)

    def __repr__(self) -> str:
        return f"AsyncHitrate({self._connection})"

    @property
    def team_id(self) -> str | None:
        """The team id, or None if the team is set by its slug or by the token."""
        return self._connection.team_id

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        if self._owns_http_client:
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
        self, call: Call[ResponseT], options: CallOptions, *, retries: int | None = None
    ) -> ResponseT:
        """Send a call, with retries, and return its result. Raises HitrateError."""

        async def attempt() -> ResponseT:
            async with aclosing(await self.send(call, options)) as response:
                with map_transport_errors(response.url.host):
                    await response.aread()
                return call.read(response)

        return await self.retry(call, attempt, retries)

    async def retry(
        self,
        call: Call[Any],
        attempt: Callable[[], Awaitable[ResponseT]],
        retries: int | None = None,
    ) -> ResponseT:
        """Return the result of `attempt`, retrying it after temporary failures."""
        attempts = Attempts(
            call, self._retries if retries is None else retries, self._max_backoff_s
        )
        while True:
            try:
                return await attempt()
            except HitrateError as error:
                delay_s = attempts.backoff_after(error)
            await self._sleep(delay_s)

    async def send(self, call: Call[Any], options: CallOptions) -> httpx.Response:
        """Send a request; the caller reads and closes the response. Raises HitrateError."""
        http = self._http_client()
        async with _chunks_of(call.content) as content:
            with map_transport_errors(self._connection.url, call.content):
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
        raise error_from_response(response)

    def _http_client(self) -> httpx.AsyncClient:
        """Return the HTTP client; a forked process must not share its parent's connections."""
        if self._http.is_closed:
            raise BadRequest("The client is closed.")
        if self._pid != os.getpid():
            if not self._owns_http_client:
                raise BadRequest("This is a forked process: create a client in it.")
            # Not closed, because that would close connections that the parent still uses.
            self._inherited, self._http = self._http, self._create_http_client()
            self._pid = os.getpid()
        return self._http

    @staticmethod
    def _create_http_client() -> httpx.AsyncClient:
        with map_setup_errors():
            return httpx.AsyncClient()


@asynccontextmanager
async def _chunks_of(
    content: bytes | Content | None,
) -> AsyncIterator[bytes | AsyncIterator[bytes] | None]:
    """Return the content for httpx; the source is closed when the request ends."""
    if isinstance(content, Content):
        async with aclosing(content.async_chunks()) as chunks:
            yield chunks
    else:
        yield content


class AsyncArtifacts:
    """The seven operations, as `client.artifacts`. Each raises HitrateError."""

    def __init__(self, client: AsyncHitrate) -> None:
        self._client = client

    async def record_events(
        self, request_body: Sequence[EventLike], **options: Unpack[EventOptions]
    ) -> None:
        """Record cache usage events."""
        await self._client.call(operations.record_events(request_body, options), options)

    async def status(self, **options: Unpack[CallOptions]) -> StatusResponse:
        """Return whether Remote Caching is enabled for the team."""
        return await self._client.call(operations.status(options), options)

    async def upload(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        content: AsyncUploadable,
        **options: Unpack[UploadOptions],
    ) -> UploadResponse:
        """Store an artifact, or replace it.

        `content`: bytes, a path, a file open for reading bytes, or an iterator of bytes, which may
        be asynchronous. An iterator is not retried; Vercel requires its `content_length`.
        """
        return await self._client.call(operations.upload(hash, content, options), options)

    async def download(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> Artifact:
        """Download an artifact into memory. Raises NotFound."""
        call = operations.download(hash, options)

        async def attempt() -> Artifact:
            async with aclosing(await self._client.send(call, options)) as response:
                download = AsyncDownload(response, options.get("progress"))
                return Artifact(b"".join([chunk async for chunk in download]), download.metadata)

        return await self._client.retry(call, attempt)

    async def download_to(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        path: os.PathLike[str] | str,
        **options: Unpack[DownloadOptions],
    ) -> ArtifactMetadata:
        """Download an artifact to a file that appears when complete. Raises NotFound, OSError."""
        call = operations.download(hash, options)

        async def attempt() -> ArtifactMetadata:
            async with aclosing(await self._client.send(call, options)) as response:
                download = AsyncDownload(response, options.get("progress"))
                with atomic_write(path) as file:
                    async for chunk in download:
                        await anyio.to_thread.run_sync(file.write, chunk)
                return download.metadata

        return await self._client.retry(call, attempt)

    @asynccontextmanager
    async def stream(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> "AsyncIterator[AsyncDownload]":
        """Stream an artifact: `async with artifacts.stream(hash) as d: async for chunk in d`.

        Raises NotFound. A failure between chunks is not retried.
        """
        call = operations.download(hash, options)
        response = await self._client.retry(call, lambda: self._client.send(call, options))
        async with aclosing(response):
            yield AsyncDownload(response, options.get("progress"))

    async def exists(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[CallOptions],
    ) -> ArtifactMetadata | None:
        """Return the metadata of an artifact, or None if it does not exist."""
        return await self._client.call(operations.exists(hash, options), options)

    async def query(self, hashes: Sequence[str], **options: Unpack[CallOptions]) -> QueryResponse:
        """Return information on many artifacts by hash; None for those that do not exist."""
        return await self._client.call(operations.query(hashes, options), options)

    async def delete_all(self, **options: Unpack[CallOptions]) -> DeleteResponse:
        """Delete all artifacts of the team."""
        return await self._client.call(operations.delete_all(options), options)


class AsyncDownload:
    """A download in progress: an async iterator of chunks, with the artifact's `metadata`."""

    def __init__(self, response: httpx.Response, progress: Progress | None) -> None:
        self.metadata = metadata_from_headers(response)
        self._response = response
        self._progress = progress

    async def __aiter__(self) -> AsyncIterator[bytes]:
        done = 0
        chunks = aiter(self._response.aiter_bytes(CHUNK_BYTES))
        while True:
            with map_transport_errors(self._response.url.host):
                chunk = await anext(chunks, b"")
            if not chunk:
                return
            yield chunk
            done += len(chunk)
            if self._progress is not None:
                self._progress(done, self.metadata.size_bytes)
