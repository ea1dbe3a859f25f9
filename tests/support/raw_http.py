"""HTTP client for fault tests: whole requests, and requests that are sent step by step."""

import hashlib
import http.client
import json
import socket
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from tests.support.server import Server, eventually

EVENTS_PATH = "/v8/artifacts/events"
TIMEOUT_S = 30.0
CONNECTION_ERRORS = (OSError, http.client.HTTPException)
"""Errors that a client raises when its server is stopped or killed."""

_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class RawResponse:
    """A complete response; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Return the `code` of an error response."""
        code: str = json.loads(self.body)["error"]["code"]
        return code


@dataclass(frozen=True)
class SampleArtifact:
    """An artifact whose metadata identifies its body: the tag is the SHA-256 of the body and the
    duration is the version."""

    hash: str
    version: int
    body: bytes

    @property
    def path(self) -> str:
        return artifact_path(self.hash)

    @property
    def tag(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def headers(self) -> dict[str, str]:
        """Return all metadata, so that a mix with another version is detected."""
        return {
            "x-artifact-tag": self.tag,
            "x-artifact-duration": str(self.version),
            "x-artifact-sha": f"{self.version:040x}",
            "x-artifact-dirty-hash": f"{self.version:064x}",
        }


def create_artifact(artifact_hash: str, version: int, size_bytes: int) -> SampleArtifact:
    """Create an artifact of which any 32 bytes differ from those of any other artifact."""
    seed = hashlib.sha256(f"{artifact_hash}/{version}".encode()).digest()
    return SampleArtifact(artifact_hash, version, (seed * (size_bytes // 32 + 1))[:size_bytes])


def artifact_path(artifact_hash: str) -> str:
    """Return the path of an artifact."""
    return f"/v8/artifacts/{artifact_hash}"


def assert_intact(response: RawResponse) -> int:
    """Check that body and metadata are of one version of an artifact; return the version."""
    assert response.status == 200, response
    version = int(response.headers["x-artifact-duration"])
    assert response.headers["x-artifact-tag"] == hashlib.sha256(response.body).hexdigest()
    assert response.headers["x-artifact-sha"] == f"{version:040x}"
    assert response.headers["x-artifact-dirty-hash"] == f"{version:064x}"
    return version


class RawHttpClient:
    """A client with one keep-alive connection. Not thread-safe."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self._authorization = {"authorization": f"Bearer {token or server.token}"}
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> RawResponse:
        """Send a request and return the response. An iterable body is sent chunked."""
        with suppress(BrokenPipeError):  # an error response may arrive before the body is sent
            self._http.request(method, path, body, {**self._authorization, **(headers or {})})
        return _read_response(self._http.getresponse())

    def post_events(self, body: bytes) -> RawResponse:
        """Send recordEvents."""
        return self.request("POST", EVENTS_PATH, body, _JSON)

    def put(self, artifact: SampleArtifact, chunk_bytes: int | None = None) -> RawResponse:
        """Send uploadArtifact, chunked if a chunk size is given."""
        if chunk_bytes is None:
            return self.request("PUT", artifact.path, artifact.body, artifact.headers)
        body = artifact.body
        chunks = (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes))
        return self.request("PUT", artifact.path, chunks, artifact.headers)

    def get(self, artifact_hash: str) -> RawResponse:
        """Send downloadArtifact."""
        return self.request("GET", artifact_path(artifact_hash))

    def events(self) -> list[dict[str, Any]]:
        """Return all events of the store, newest first. Waits until the store is open."""
        events: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = eventually(partial(self._page, cursor))
            assert page is not None
            events += page["events"]
            cursor = page["nextCursor"]
        return events

    def pending_segments(self) -> int:
        """Return the number of spool segments that are not loaded yet."""
        text = self.request("GET", "/metrics").body.decode()
        [line] = [x for x in text.splitlines() if x.startswith("hitrate_spool_segments ")]
        return int(float(line.split()[1]))

    def _page(self, cursor: str) -> dict[str, Any] | None:
        after = f"&cursor={cursor}" if cursor else ""
        response = self.request("GET", f"/v1/events?limit=1000{after}")
        if response.status == 503:
            return None
        assert response.status == 200, response
        page: dict[str, Any] = json.loads(response.body)
        return page


class StreamedRequest:
    """A request that is sent step by step on its own connection."""

    def __init__(self, server: Server, method: str, path: str, **headers: str | int) -> None:
        """Send the request line and headers; `content_length=3` becomes `content-length: 3`."""
        self._socket = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S)
        lines = [f"{method} {path} HTTP/1.1", "host: hitrate"]
        lines += [f"authorization: Bearer {server.token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._socket.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty chunk ends the body."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Close the sending half of the connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection, as a crash of the client does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def response(self) -> RawResponse:
        """Receive the response."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return _read_response(response)

    def is_closed_by_server(self) -> bool:
        """Wait for the server to close the connection; return whether it did."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionError:
            return True


def _read_response(response: http.client.HTTPResponse) -> RawResponse:
    try:
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return RawResponse(response.status, headers, body)
    finally:
        response.close()
