"""Owns one shape for both clients, so that what both promise is written down once.

The asynchronous client has one event loop, from its first call to `close`. No client here ever
sleeps: `pauses` tells how long it wanted to, and `on_pause` is what happens meanwhile.
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
Kind = type[Hitrate] | type[AsyncHitrate]

EVENT = {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "h", "duration": 4}
KINDS: tuple[Kind, ...] = (Hitrate, AsyncHitrate)


@dataclass(frozen=True)
class Stream:
    """A download in chunks."""

    metadata: ArtifactMetadata
    chunks: Iterator[bytes]


class Facade:
    """A client of either kind, made with `settings`. A call may be a wrong one, hence Any."""

    def __init__(self, kind: Kind, **settings: Any) -> None:
        self.pauses: list[float] = []
        self.on_pause: Callable[[], object] = lambda: None
        self._runner = asyncio.Runner()
        # Of its own a client would, each time, read all the certificates there are.
        self._http: httpx.Client | httpx.AsyncClient
        self.client: Hitrate | AsyncHitrate
        if kind is Hitrate:
            self._http = httpx.Client(verify=False, trust_env=False)
            self.client = Hitrate(**{"http_client": self._http, **settings})
            self.client._sleep = self._pause
        else:
            self._http = httpx.AsyncClient(verify=False, trust_env=False)
            self.client = AsyncHitrate(**{"http_client": self._http, **settings})
            self.client._sleep = self._pause_async

    def close(self) -> None:
        self.leave()
        if isinstance(self._http, httpx.AsyncClient):
            self._runner.run(self._http.aclose())
        else:
            self._http.close()
        self._runner.close()

    def leave(self) -> None:
        """Let the client's `with` block end; the connections are its owner's to close."""
        if isinstance(self.client, AsyncHitrate):
            self._runner.run(self.client.__aexit__(None, None, None))
        else:
            self.client.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record_events(self, request_body: Any, **options: Any) -> None:
        self._done(self.client.artifacts.record_events(request_body, **options))

    def status(self, **options: Any) -> StatusResponse:
        return self._done(self.client.artifacts.status(**options))

    def upload(self, name: Any, content: Any, **options: Any) -> UploadResponse:
        return self._done(self.client.artifacts.upload(name, content, **options))

    def download(self, name: Any, **options: Any) -> Artifact:
        return self._done(self.client.artifacts.download(name, **options))

    def download_to(self, name: Any, path: PathLike[str] | str, **options: Any) -> ArtifactMetadata:
        return self._done(self.client.artifacts.download_to(name, path, **options))

    @contextmanager
    def stream(self, name: Any, **options: Any) -> Iterator[Stream]:
        if isinstance(self.client, Hitrate):
            with self.client.artifacts.stream(name, **options) as download:
                yield Stream(download.metadata, iter(download))
        else:
            opened = self.client.artifacts.stream(name, **options)
            async_download = self._runner.run(opened.__aenter__())
            try:
                yield Stream(async_download.metadata, self._chunks(async_download))
            finally:
                self._runner.run(opened.__aexit__(*sys.exc_info()))

    def exists(self, name: Any, **options: Any) -> ArtifactMetadata | None:
        return self._done(self.client.artifacts.exists(name, **options))

    def query(self, hashes: Any, **options: Any) -> QueryResponse:
        return self._done(self.client.artifacts.query(hashes, **options))

    def delete_all(self, **options: Any) -> DeleteResponse:
        return self._done(self.client.artifacts.delete_all(**options))

    def _done(self, call: Coroutine[Any, Any, Value] | Value) -> Value:
        return self._runner.run(call) if isinstance(call, Coroutine) else call

    def _chunks(self, download: AsyncDownload) -> Iterator[bytes]:
        chunks = aiter(download)

        async def following() -> bytes:
            return await anext(chunks, b"")

        while chunk := self._runner.run(following()):
            yield chunk

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()

    async def _pause_async(self, seconds: float) -> None:
        self._pause(seconds)


def _streamed(client: Facade, _folder: Path) -> bytes:
    with client.stream("h") as download:
        return b"".join(download.chunks)


# Each operation once, with all that it must be given; the folder is for what it writes.
OPERATIONS: dict[str, Callable[[Facade, Path], object]] = {
    "record_events": lambda client, _folder: client.record_events([EVENT]),
    "status": lambda client, _folder: client.status(),
    "upload": lambda client, _folder: client.upload("h", b"content"),
    "download": lambda client, _folder: client.download("h"),
    "download_to": lambda client, folder: client.download_to("h", folder / "artifact"),
    "stream": _streamed,
    "exists": lambda client, _folder: client.exists("h"),
    "query": lambda client, _folder: client.query(["h"]),
    "delete_all": lambda client, _folder: client.delete_all(),
}
