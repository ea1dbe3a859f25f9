"""HTTP as the tests of faults speak it: whole requests, and requests sent piece by piece."""

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

EVENTS = "/v8/artifacts/events"
TIMEOUT_S = 30.0
GONE = (OSError, http.client.HTTPException)
"""What a client meets when its server is gone."""

_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """One whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The `code` of an error."""
        code: str = json.loads(self.body)["error"]["code"]
        return code


@dataclass(frozen=True)
class Artifact:
    """A body that says what it is: its tag is the digest of the body, its duration the version."""

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
        """All metadata, so that a mix with another version shows."""
        return {
            "x-artifact-tag": self.tag,
            "x-artifact-duration": str(self.version),
            "x-artifact-sha": f"{self.version:040x}",
            "x-artifact-dirty-hash": f"{self.version:064x}",
        }


def make_artifact(artifact_hash: str, version: int, size_bytes: int) -> Artifact:
    """An artifact whose every 32 bytes differ from any other's."""
    seed = hashlib.sha256(f"{artifact_hash}/{version}".encode()).digest()
    return Artifact(artifact_hash, version, (seed * (size_bytes // 32 + 1))[:size_bytes])


def artifact_path(artifact_hash: str) -> str:
    """The address of an artifact."""
    return f"/v8/artifacts/{artifact_hash}"


def assert_whole(answer: Answer) -> int:
    """The version of a downloaded artifact, after a look that nothing of it is of another."""
    assert answer.status == 200, answer
    version = int(answer.headers["x-artifact-duration"])
    assert answer.headers["x-artifact-tag"] == hashlib.sha256(answer.body).hexdigest()
    assert answer.headers["x-artifact-sha"] == f"{version:040x}"
    assert answer.headers["x-artifact-dirty-hash"] == f"{version:064x}"
    return version


class Client:
    """One connection that is kept alive, for one thread."""

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
    ) -> Answer:
        """The answer; a body of several pieces goes in chunks, without its length."""
        with suppress(BrokenPipeError):  # a refusal may come before the body is sent
            self._http.request(method, path, body, {**self._authorization, **(headers or {})})
        return _answer(self._http.getresponse())

    def post_events(self, body: bytes) -> Answer:
        """recordEvents."""
        return self.request("POST", EVENTS, body, _JSON)

    def put(self, artifact: Artifact, chunk_bytes: int | None = None) -> Answer:
        """uploadArtifact, in chunks when their size is given."""
        if chunk_bytes is None:
            return self.request("PUT", artifact.path, artifact.body, artifact.headers)
        body = artifact.body
        pieces = (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes))
        return self.request("PUT", artifact.path, pieces, artifact.headers)

    def get(self, artifact_hash: str) -> Answer:
        """downloadArtifact."""
        return self.request("GET", artifact_path(artifact_hash))

    def events(self) -> list[dict[str, Any]]:
        """All events that are in the store now, newest first; waits until the store is open."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = eventually(partial(self._page, cursor))
            assert page is not None
            found += page["events"]
            cursor = page["nextCursor"]
        return found

    def waiting_segments(self) -> int:
        """How many segments the event store has not taken over yet."""
        text = self.request("GET", "/metrics").body.decode()
        [line] = [x for x in text.splitlines() if x.startswith("hitrate_spool_segments ")]
        return int(float(line.split()[1]))

    def _page(self, cursor: str) -> dict[str, Any] | None:
        after = f"&cursor={cursor}" if cursor else ""
        answer = self.request("GET", f"/v1/events?limit=1000{after}")
        if answer.status == 503:
            return None
        assert answer.status == 200, answer
        page: dict[str, Any] = json.loads(answer.body)
        return page


class Pieces:
    """A request that is sent piece by piece on a connection of its own."""

    def __init__(self, server: Server, method: str, path: str, **headers: str | int) -> None:
        """Send the head; `content_length=3` becomes `content-length: 3`."""
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
        """Bytes as they are."""
        self._socket.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Say that nothing more will come, and go on listening."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection as a crash of the client does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def answer(self) -> Answer:
        """What the server says."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return _answer(response)

    def is_closed_by_server(self) -> bool:
        """Whether the server has ended the connection; waits until it does."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionError:
            return True


def _answer(response: http.client.HTTPResponse) -> Answer:
    try:
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)
    finally:
        response.close()
