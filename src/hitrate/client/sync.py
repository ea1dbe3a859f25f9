"""The synchronous client. Only waiting is here; everything else is shared with `aio`."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from hitrate.client import _operations as operations
from hitrate.client._connection import connection, map_setup_errors
from hitrate.client._content import CHUNK_BYTES, Content, Uploadable, atomic_write
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


class Hitrate:
    """A client of `/v8/artifacts`, for hitrate and for Vercel; threads may share one.

    Missing arguments come from `TURBO_API`, `TURBO_TOKEN`, `TURBO_TEAM` and `TURBO_TEAMID`, as for
    `turbo`. `timeout`: seconds without progress, or an httpx.Timeout. `retries`: further attempts
    after a temporary failure. `max_backoff`: longest delay in seconds; if the server requests a
    longer one, the call fails. `http_client`: for certificates, proxies and the like; its owner
    closes it. Raises BadRequest.
    """

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
        http_client: httpx.Client | None = None,
    ) -> None:
        self._connection = connection(bearer_token, server_url, team_id, slug, timeout)
        self._retries = validate_retries(retries)
        self._max_backoff_s = max_backoff
        self._owns_http_client = http_client is None
        self._http = http_client or self._create_http_client()
        self._pid = os.getpid()
        self._sleep: Callable[[float], None] = time.sleep
        self.artifacts = Artifacts(self)

    def __repr__(self) -> str:
        return f"Hitrate({self._connection})"

    @property
    def team_id(self) -> str | None:
        """The team id, or None if the team is set by its slug or by the token."""
        return self._connection.team_id

    def close(self) -> None:
        """Close the connections; may be called twice."""
        if self._owns_http_client:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(
        self, call: Call[ResponseT], options: CallOptions, *, retries: int | None = None
    ) -> ResponseT:
        """Send a call, with retries, and return its result. Raises HitrateError."""

        def attempt() -> ResponseT:
            with closing(self.send(call, options)) as response:
                with map_transport_errors(response.url.host):
                    response.read()
                return call.read(response)

        return self.retry(call, attempt, retries)

    def retry(
        self, call: Call[Any], attempt: Callable[[], ResponseT], retries: int | None = None
    ) -> ResponseT:
        """Return the result of `attempt`, retrying it after temporary failures."""
        attempts = Attempts(
            call, self._retries if retries is None else retries, self._max_backoff_s
        )
        while True:
            try:
                return attempt()
            except HitrateError as error:
                delay_s = attempts.backoff_after(error)
            self._sleep(delay_s)

    def send(self, call: Call[Any], options: CallOptions) -> httpx.Response:
        """Send a request; the caller reads and closes the response. Raises HitrateError."""
        content = call.content.chunks() if isinstance(call.content, Content) else call.content
        http = self._http_client()
        with map_transport_errors(self._connection.url, call.content):
            request = http.build_request(content=content, **self._connection.request(call, options))
            response = http.send(request, stream=True)
            if call.accepts(response):
                return response
            try:
                response.read()
            finally:
                response.close()
        raise error_from_response(response)

    def _http_client(self) -> httpx.Client:
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
    def _create_http_client() -> httpx.Client:
        with map_setup_errors():
            return httpx.Client()


class Artifacts:
    """The seven operations, as `client.artifacts`. Each raises HitrateError."""

    def __init__(self, client: Hitrate) -> None:
        self._client = client

    def record_events(
        self, request_body: Sequence[EventLike], **options: Unpack[EventOptions]
    ) -> None:
        """Record cache usage events."""
        self._client.call(operations.record_events(request_body, options), options)

    def status(self, **options: Unpack[CallOptions]) -> StatusResponse:
        """Return whether Remote Caching is enabled for the team."""
        return self._client.call(operations.status(options), options)

    def upload(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        content: Uploadable,
        **options: Unpack[UploadOptions],
    ) -> UploadResponse:
        """Store an artifact, or replace it.

        `content`: bytes, a path, a file open for reading bytes, or an iterator of bytes. An
        iterator is not retried; Vercel requires its `content_length`.
        """
        return self._client.call(operations.upload(hash, content, options), options)

    def download(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> Artifact:
        """Download an artifact into memory. Raises NotFound."""
        call = operations.download(hash, options)

        def attempt() -> Artifact:
            with closing(self._client.send(call, options)) as response:
                download = Download(response, options.get("progress"))
                return Artifact(b"".join(download), download.metadata)

        return self._client.retry(call, attempt)

    def download_to(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        path: os.PathLike[str] | str,
        **options: Unpack[DownloadOptions],
    ) -> ArtifactMetadata:
        """Download an artifact to a file that appears when complete. Raises NotFound, OSError."""
        call = operations.download(hash, options)

        def attempt() -> ArtifactMetadata:
            with closing(self._client.send(call, options)) as response, atomic_write(path) as file:
                download = Download(response, options.get("progress"))
                for chunk in download:
                    file.write(chunk)
                return download.metadata

        return self._client.retry(call, attempt)

    @contextmanager
    def stream(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> "Iterator[Download]":
        """Stream an artifact: `with artifacts.stream(hash) as download: for chunk in download`.

        Raises NotFound. A failure between chunks is not retried.
        """
        call = operations.download(hash, options)
        response = self._client.retry(call, lambda: self._client.send(call, options))
        with closing(response):
            yield Download(response, options.get("progress"))

    def exists(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[CallOptions],
    ) -> ArtifactMetadata | None:
        """Return the metadata of an artifact, or None if it does not exist."""
        return self._client.call(operations.exists(hash, options), options)

    def query(self, hashes: Sequence[str], **options: Unpack[CallOptions]) -> QueryResponse:
        """Return information on many artifacts by hash; None for those that do not exist."""
        return self._client.call(operations.query(hashes, options), options)

    def delete_all(self, **options: Unpack[CallOptions]) -> DeleteResponse:
        """Delete all artifacts of the team."""
        return self._client.call(operations.delete_all(options), options)


class Download:
    """A download in progress: an iterator of chunks, with the `metadata` of the artifact."""

    def __init__(self, response: httpx.Response, progress: Progress | None = None) -> None:
        self.metadata = metadata_from_headers(response)
        self._response = response
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        chunks = iter(self._response.iter_bytes(CHUNK_BYTES))
        while True:
            with map_transport_errors(self._response.url.host):
                chunk = next(chunks, b"")
            if not chunk:
                return
            yield chunk
            done += len(chunk)
            if self._progress is not None:
                self._progress(done, self.metadata.size_bytes)
