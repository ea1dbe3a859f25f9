"""The client for ordinary programs. All that needs no waiting stands in the modules beside it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from hitrate.client import _operations as operations
from hitrate.client._connection import connection, made_by_httpx
from hitrate.client._content import CHUNK_BYTES, Content, Uploadable, whole_file
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


class Hitrate:
    """A client of `/v8/artifacts`, for hitrate and for Vercel; threads may share one.

    What is not given comes from `TURBO_API`, `TURBO_TOKEN`, `TURBO_TEAM` and `TURBO_TEAMID`, as
    for `turbo`. `timeout`: seconds without progress, or an httpx.Timeout; `retries`: further
    attempts after a failure that may pass; `max_pause`: the most seconds to wait for one, so that a
    server that asks for more gets none. `http_client` brings certificates, proxies and the like;
    closing it is left to its owner. Raises BadRequest.
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
        max_pause: float = 60.0,
        http_client: httpx.Client | None = None,
    ) -> None:
        self._connection = connection(bearer_token, server_url, team_id, slug, timeout)
        self._retries = checked_retries(retries)
        self._max_pause_s = max_pause
        self._owned = http_client is None
        self._http = http_client or self._made()
        self._pid = os.getpid()
        self._sleep: Callable[[float], None] = time.sleep
        self.artifacts = Artifacts(self)

    def __repr__(self) -> str:
        return f"Hitrate({self._connection})"

    @property
    def team_id(self) -> str | None:
        """The team's id, if it was given as one."""
        return self._connection.team_id

    def close(self) -> None:
        """Close the connections; may be called twice."""
        if self._owned:
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
        self, call: Call[Answer], options: CallOptions, *, retries: int | None = None
    ) -> Answer:
        """The answer to one of `_operations`. Raises HitrateError."""

        def attempt() -> Answer:
            with closing(self.send(call, options)) as response:
                with translated(response.url.host):
                    response.read()
                return call.read(response)

        return self.attempted(call, attempt, retries)

    def attempted(
        self, call: Call[Any], attempt: Callable[[], Answer], retries: int | None = None
    ) -> Answer:
        """What `attempt` gives, which is made again while a failure may pass."""
        attempts = Attempts(call, self._retries if retries is None else retries, self._max_pause_s)
        while True:
            try:
                return attempt()
            except HitrateError as error:
                pause = attempts.pause_after(error)
            self._sleep(pause)

    def send(self, call: Call[Any], options: CallOptions) -> httpx.Response:
        """An answer that its caller reads and closes. Raises what it stands for if an error."""
        content = call.content.chunks() if isinstance(call.content, Content) else call.content
        http = self._connections()
        with translated(self._connection.url, call.content):
            request = http.build_request(content=content, **self._connection.request(call, options))
            response = http.send(request, stream=True)
            if call.accepts(response):
                return response
            try:
                response.read()
            finally:
                response.close()
        raise error_of(response)

    def _connections(self) -> httpx.Client:
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
    def _made() -> httpx.Client:
        with made_by_httpx():
            return httpx.Client()


class Artifacts:
    """The seven operations, reached as `client.artifacts`; each raises HitrateError."""

    def __init__(self, client: Hitrate) -> None:
        self._client = client

    def record_events(
        self, request_body: Sequence[EventLike], **options: Unpack[EventOptions]
    ) -> None:
        """Record cache usage events."""
        self._client.call(operations.record_events(request_body, options), options)

    def status(self, **options: Unpack[CallOptions]) -> StatusResponse:
        """Whether Remote Caching is enabled for the team."""
        return self._client.call(operations.status(options), options)

    def upload(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        content: Uploadable,
        **options: Unpack[UploadOptions],
    ) -> UploadResponse:
        """Store an artifact, or replace it.

        `content`: bytes, a path, a file open for reading bytes, or an iterator of bytes. An
        iterator is sent once, whatever happens; Vercel wants its `content_length`.
        """
        return self._client.call(operations.upload(hash, content, options), options)

    def download(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> Artifact:
        """The artifact, in memory. Raises NotFound."""
        call = operations.download(hash, options)

        def attempt() -> Artifact:
            with closing(self._client.send(call, options)) as response:
                download = Download(response, options.get("progress"))
                return Artifact(b"".join(download), download.metadata)

        return self._client.attempted(call, attempt)

    def download_to(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        path: os.PathLike[str] | str,
        **options: Unpack[DownloadOptions],
    ) -> ArtifactMetadata:
        """The artifact, as a file that is there when it is whole. Raises NotFound, OSError."""
        call = operations.download(hash, options)

        def attempt() -> ArtifactMetadata:
            with closing(self._client.send(call, options)) as response, whole_file(path) as file:
                download = Download(response, options.get("progress"))
                for chunk in download:
                    file.write(chunk)
                return download.metadata

        return self._client.attempted(call, attempt)

    @contextmanager
    def stream(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[DownloadOptions],
    ) -> "Iterator[Download]":
        """The artifact in chunks: `with artifacts.stream(hash) as download: for chunk in download`.

        Raises NotFound. What fails between chunks is not tried again.
        """
        call = operations.download(hash, options)
        response = self._client.attempted(call, lambda: self._client.send(call, options))
        with closing(response):
            yield Download(response, options.get("progress"))

    def exists(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        **options: Unpack[CallOptions],
    ) -> ArtifactMetadata | None:
        """What is known of the artifact; None if it is not there."""
        return self._client.call(operations.exists(hash, options), options)

    def query(self, hashes: Sequence[str], **options: Unpack[CallOptions]) -> QueryResponse:
        """What is known of each of many artifacts; None for those that are not there."""
        return self._client.call(operations.query(hashes, options), options)

    def delete_all(self, **options: Unpack[CallOptions]) -> DeleteResponse:
        """Empty the team's cache."""
        return self._client.call(operations.delete_all(options), options)


class Download:
    """An artifact on its way: iterate over it for its chunks. `metadata` is there at once."""

    def __init__(self, response: httpx.Response, progress: Progress | None) -> None:
        self.metadata = metadata_of(response)
        self._response = response
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        chunks = iter(self._response.iter_bytes(CHUNK_BYTES))
        while True:
            with translated(self._response.url.host):
                chunk = next(chunks, b"")
            if not chunk:
                return
            yield chunk
            done += len(chunk)
            if self._progress is not None:
                self._progress(done, self.metadata.size_bytes)
