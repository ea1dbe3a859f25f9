"""Adapter that gives the synchronous and the asynchronous client one synchronous interface.

The asynchronous client has one event loop from its first call to `close`. The clients never sleep:
`pauses` lists the requested delays, and `on_pause` is called instead of waiting.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from hitrate.client import (
    Artifact,
    ArtifactMetadata,
    AsyncDownload,
    AsyncHitrate,
    DeleteResponse,
    Hitrate,
    StatusResponse,
    UploadResponse,
)
from hitrate.client.models import QueryResponse

Value = TypeVar("Value")
ClientClass = type[Hitrate] | type[AsyncHitrate]

EVENT = {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "h", "duration": 4}
CLIENT_CLASSES: tuple[ClientClass, ...] = (Hitrate, AsyncHitrate)


@dataclass(frozen=True)
class Stream:
    """A download in chunks."""

    metadata: ArtifactMetadata
    chunks: Iterator[bytes]


class ClientAdapter:
    """A client of either class, created with `settings`. Arguments may be invalid, hence Any."""

    def __init__(self, client_class: ClientClass, **settings: Any) -> None:
        self.pauses: list[float] = []
        self.on_pause: Callable[[], object] = lambda: None
        self._runner = asyncio.Runner()
        # Without verification, because each httpx client would otherwise read all CA certificates.
        self._http: httpx.Client | httpx.AsyncClient
        self.client: Hitrate | AsyncHitrate
        if client_class is Hitrate:
            self._http = httpx.Client(verify=False, trust_env=False)
            self.client = Hitrate(**{"http_client": self._http, **settings})
            self.client._sleep = self._pause
        else:
            self._http = httpx.AsyncClient(verify=False, trust_env=False)
            self.client = AsyncHitrate(**{"http_client": self._http, **settings})
            self.client._sleep = self._pause_async

    def close(self) -> None:
        """Close the client and its connections."""
        self.exit()
        if isinstance(self._http, httpx.AsyncClient):
            self._runner.run(self._http.aclose())
        else:
            self._http.close()
        self._runner.close()

    def exit(self) -> None:
        """Leave the client's `with` block, which does not close connections of the caller."""
        if isinstance(self.client, AsyncHitrate):
            self._runner.run(self.client.__aexit__(None, None, None))
        else:
            self.client.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record_events(self, request_body: Any, **options: Any) -> None:
        self._result(self.client.artifacts.record_events(request_body, **options))

    def status(self, **options: Any) -> StatusResponse:
        return self._result(self.client.artifacts.status(**options))

    def upload(self, name: Any, content: Any, **options: Any) -> UploadResponse:
        return self._result(self.client.artifacts.upload(name, content, **options))

    def download(self, name: Any, **options: Any) -> Artifact:
        return self._result(self.client.artifacts.download(name, **options))

    def download_to(self, name: Any, path: PathLike[str] | str, **options: Any) -> ArtifactMetadata:
        return self._result(self.client.artifacts.download_to(name, path, **options))

    @contextmanager
    def stream(self, name: Any, **options: Any) -> Iterator[Stream]:
        if isinstance(self.client, Hitrate):
            with self.client.artifacts.stream(name, **options) as download:
                yield Stream(download.metadata, iter(download))
        else:
            context = self.client.artifacts.stream(name, **options)
            async_download = self._runner.run(context.__aenter__())
            try:
                yield Stream(async_download.metadata, self._chunks(async_download))
            finally:
                self._runner.run(context.__aexit__(*sys.exc_info()))

    def exists(self, name: Any, **options: Any) -> ArtifactMetadata | None:
        return self._result(self.client.artifacts.exists(name, **options))

    def query(self, hashes: Any, **options: Any) -> QueryResponse:
        return self._result(self.client.artifacts.query(hashes, **options))

    def delete_all(self, **options: Any) -> DeleteResponse:
        return self._result(self.client.artifacts.delete_all(**options))

    def _result(self, call: Coroutine[Any, Any, Value] | Value) -> Value:
        return self._runner.run(call) if isinstance(call, Coroutine) else call

    def _chunks(self, download: AsyncDownload) -> Iterator[bytes]:
        chunks = aiter(download)

        async def next_chunk() -> bytes:
            return await anext(chunks, b"")

        while chunk := self._runner.run(next_chunk()):
            yield chunk

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()

    async def _pause_async(self, seconds: float) -> None:
        self._pause(seconds)


def _download_stream(client: ClientAdapter, _directory: Path) -> bytes:
    with client.stream("h") as download:
        return b"".join(download.chunks)


# Each operation with its required arguments; the directory is for files that it writes.
OPERATIONS: dict[str, Callable[[ClientAdapter, Path], object]] = {
    "record_events": lambda client, _directory: client.record_events([EVENT]),
    "status": lambda client, _directory: client.status(),
    "upload": lambda client, _directory: client.upload("h", b"content"),
    "download": lambda client, _directory: client.download("h"),
    "download_to": lambda client, directory: client.download_to("h", directory / "artifact"),
    "stream": _download_stream,
    "exists": lambda client, _directory: client.exists("h"),
    "query": lambda client, _directory: client.query(["h"]),
    "delete_all": lambda client, _directory: client.delete_all(),
}
