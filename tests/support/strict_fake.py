"""Strict fake server of the artifacts API, which validates everything that a client sends.

It adds to `violations` each deviation from the published contract, also where real servers are
lenient, and rejects the request. It can play scripted failures, so that a client meets them at a
known request. All data is in memory. The HTTP server is in `strict_fake_http`.
"""

from __future__ import annotations

import json
import re
import reprlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from tests.support.strict_fake_http import (
    BODYLESS_STATUSES,
    FakeHttpServer,
    RawResponse,
    ReceivedRequest,
)

ROOT = "/v8/artifacts"
FIXED_PATHS = {
    f"{ROOT}/events": {"POST": "recordEvents"},
    f"{ROOT}/status": {"GET": "status"},
    ROOT: {"POST": "artifactQuery", "DELETE": "deleteAllArtifacts"},
}
ARTIFACT_METHODS = {"PUT": "uploadArtifact", "GET": "downloadArtifact", "HEAD": "artifactExists"}
ARTIFACT_PATH = re.compile(ROOT + r"/(?!\.{1,2}$)([\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", re.ASCII)
CONTENT_TYPES = {
    "recordEvents": "application/json",
    "artifactQuery": "application/json",
    "uploadArtifact": "application/octet-stream",
}
CLIENT_HEADERS = {
    "x-artifact-client-ci": re.compile(r".{0,50}"),
    "x-artifact-client-interactive": re.compile(r"[01]"),
}
METADATA_HEADERS = {
    "x-artifact-duration": re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?"),
    "x-artifact-tag": re.compile(r".{0,600}"),
    "x-artifact-sha": re.compile(r"[0-9A-Fa-f]{40}"),
    "x-artifact-dirty-hash": re.compile(r"[0-9A-Fa-f]{64}"),
}
ALLOWED_HEADERS = {
    "recordEvents": CLIENT_HEADERS,
    "downloadArtifact": CLIENT_HEADERS | {"accept-encoding": re.compile("identity")},
    "uploadArtifact": CLIENT_HEADERS | METADATA_HEADERS,
}
EVENT_FIELDS: dict[str, Callable[[object], bool]] = {
    "sessionId": lambda value: isinstance(value, str),
    "source": lambda value: value in ("LOCAL", "REMOTE"),
    "event": lambda value: value in ("HIT", "MISS"),
    "hash": lambda value: isinstance(value, str),
    "duration": lambda value: type(value) in (int, float),  # bool is a subclass of int
}


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact and the metadata headers of its upload."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """Sends exactly this response and stores nothing. A dict is sent as JSON."""

    status: int
    body: bytes | dict[str, Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorResponse:
    """Sends an error in the contract's format and stores nothing."""

    status: int
    code: str
    message: str = "Rejected by the test's script"
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        flat = {"code": self.code, "message": self.message}
        return Response(self.status, {"error": flat, **flat}, self.headers)


@dataclass(frozen=True)
class Disconnect:
    """Reads the request and closes the connection; processes the request only if `store`."""

    store: bool = False


@dataclass(frozen=True)
class Truncate:
    """Responds normally, but closes the connection after `keep_bytes` of the body."""

    keep_bytes: int


@dataclass(frozen=True)
class PassThrough:
    """Responds normally."""


@dataclass(frozen=True)
class Stall:
    """Reads the request and sends nothing until the fake is closed; stores nothing."""


Step = Response | ErrorResponse | Disconnect | Truncate | PassThrough | Stall


@dataclass(eq=False)
class StrictFake:
    """Listens on `url` from `open()` to `close()`; opened again, it has the same address.

    Requests are processed one at a time: `requests`, `violations`, `events` and `artifacts` are
    updated before the response is sent.
    """

    token: str = "fake-token"
    team_id: str = "team_fake"
    slug: str = "fake-team"
    status: str = "enabled"
    url: str = field(default="", init=False)
    requests: list[ReceivedRequest] = field(default_factory=list, init=False)
    violations: list[str] = field(default_factory=list, init=False)
    events: list[dict[str, Any]] = field(default_factory=list, init=False)
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._port = 0
        self._server: FakeHttpServer | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._steps: deque[Step] = deque()
        self._batches: set[bytes] = set()
        self._closed = threading.Event()

    def script(self, *steps: Step) -> None:
        """Use one step for each of the next requests; later ones get normal responses."""
        with self._lock:
            self._steps.extend(steps)

    def open(self) -> None:
        """Start listening, on the same port as before."""
        if self._server is None:
            self._closed.clear()
            self._server = FakeHttpServer(self._port, self._handle)
            self._port = self._server.server_address[1]
            self.url = f"http://127.0.0.1:{self._port}"
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
            self._thread.start()

    def close(self) -> None:
        """Close all connections and stop listening."""
        if self._server is not None and self._thread is not None:
            self._closed.set()
            self._server.shutdown()
            self._thread.join()
            self._server.shutdown_connections()
            self._server.server_close()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handle(self, request: ReceivedRequest, violations: list[str]) -> RawResponse | None:
        """Return the response, or None to disconnect. `violations`: found while reading."""
        with self._lock:
            self.requests.append(request)
            error = self._validate(request, violations)
            match step := self._steps.popleft() if self._steps else PassThrough():
                case Disconnect(store=False):
                    return None
                case Stall():
                    response = None
                case Response():
                    response = self._raw_response(step)
                case ErrorResponse():
                    response = self._raw_response(step.response())
                case _:
                    response = self._raw_response(
                        error.response() if error else self._process(request)
                    )
        if isinstance(step, Stall):
            self._closed.wait()
        if response is None or isinstance(step, Disconnect):
            return None
        return (
            replace(response, keep_bytes=step.keep_bytes)
            if isinstance(step, Truncate)
            else response
        )

    def _raw_response(self, response: Response) -> RawResponse:
        """Return the response with a request id, and the body as bytes."""
        headers = {"x-vercel-id": f"fake::{len(self.requests)}"}
        body = response.body
        if isinstance(body, dict):
            headers["content-type"] = "application/json"
            body = json.dumps(body).encode()
        if response.status not in BODYLESS_STATUSES:
            headers["content-length"] = str(len(body))
        custom = {name.lower(): value for name, value in response.headers.items()}
        return RawResponse(response.status, headers | custom, body)

    def _validate(self, request: ReceivedRequest, violations: list[str]) -> ErrorResponse | None:
        methods = _methods(request.path)
        operation = methods.get(request.method)
        if operation is None:
            violation = f"{request.method} {request.path} is not part of the contract"
            self.violations += [violation, *violations]
            if methods:
                return ErrorResponse(
                    405, "method_not_allowed", violation, {"allow": ", ".join(methods)}
                )
            return ErrorResponse(404, "not_found", violation)
        if artifact := [*violations, *_violations_of(operation, request)]:
            self.violations += [f"{operation}: {violation}" for violation in artifact]
            return ErrorResponse(400, "bad_request", "; ".join(artifact))
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return ErrorResponse(401, "unauthorized", "The token is missing or unknown")
        if request.query.items() - {"teamId": self.team_id, "slug": self.slug}.items():
            return ErrorResponse(403, "forbidden", "The token may not use this team")
        return None

    def _process(self, request: ReceivedRequest) -> Response:
        match _methods(request.path)[request.method]:
            case "recordEvents":
                return self._record(request.body)
            case "status":
                return Response(200, {"status": self.status})
            case "artifactQuery":
                hashes = _parse(request.body)["hashes"]
                return Response(200, {name: self._summary(name) for name in hashes})
            case "deleteAllArtifacts":
                count = len(self.artifacts)
                self.artifacts.clear()
                return Response(200, {"deletedCount": count})
            case "uploadArtifact":
                metadata = {k: v for k, v in request.headers.items() if k in METADATA_HEADERS}
                self.artifacts[_hash(request)] = StoredArtifact(request.body, metadata)
                return Response(202, {"urls": [self.url + request.path]})
            case _:
                return self._download(request)

    def _record(self, body: bytes) -> Response:
        """Record a batch, unless an equal one was received: the body is the idempotency key."""
        if body not in self._batches:
            self._batches.add(body)
            self.events += _parse(body)
        return Response(200, {})

    def _download(self, request: ReceivedRequest) -> Response:
        artifact = self.artifacts.get(_hash(request))
        if artifact is None:
            return ErrorResponse(404, "not_found", "Artifact not artifact").response()
        accept = request.headers.get("accept", "*/*")
        is_json = "application/json" in accept and "*/*" not in accept
        label = "application/json" if is_json else "application/octet-stream"
        return Response(200, artifact.content, {"content-type": label, **artifact.headers})

    def _summary(self, name: str) -> dict[str, Any] | None:
        artifact = self.artifacts.get(name)
        if artifact is None:
            return None
        duration = float(artifact.headers.get("x-artifact-duration", "0"))
        tag = artifact.headers.get("x-artifact-tag")
        return {
            "size": len(artifact.content),
            "taskDurationMs": int(duration) if duration.is_integer() else duration,
            **({} if tag is None else {"tag": tag}),
        }


def _methods(path: str) -> dict[str, str]:
    """Return the operations of a path by method; none for an unknown path."""
    return FIXED_PATHS.get(path) or (ARTIFACT_METHODS if ARTIFACT_PATH.fullmatch(path) else {})


def _hash(request: ReceivedRequest) -> str:
    return unquote(request.path.removeprefix(f"{ROOT}/"))


def _violations_of(operation: str, request: ReceivedRequest) -> Iterator[str]:
    """Return the contract violations of a request with valid framing."""
    headers = request.headers
    yield from _query_violations(request.target.partition("?")[2])
    yield from (f"{name} is missing" for name in ("host", "user-agent") if not headers.get(name))
    if "content-encoding" in headers:
        yield f"content-encoding is {headers['content-encoding']!r}"
    for name, pattern in ALLOWED_HEADERS.get(operation, {}).items():
        if name in headers and not pattern.fullmatch(headers[name]):
            yield f"{name} is {reprlib.repr(headers[name])}"
    if operation not in CONTENT_TYPES:
        if request.body or "transfer-encoding" in headers:
            yield "it has a body, which is not allowed"
        return
    if headers.get("content-type") != CONTENT_TYPES[operation]:
        yield f"content-type is {headers.get('content-type')!r}"
    if not headers.keys() & {"content-length", "transfer-encoding"}:
        yield "content-length and transfer-encoding are missing"
    if CONTENT_TYPES[operation] == "application/json":
        yield from _json_violations(operation, request.body)


def _query_violations(query: str) -> Iterator[str]:
    try:
        pairs = parse_qsl(query, True, strict_parsing=True, errors="strict") if query else []
    except ValueError:
        yield f"query {query!r} is malformed"
        return
    for name, count in Counter(name for name, _ in pairs).items():
        if name not in ("teamId", "slug"):
            yield f"query parameter {name} is not allowed"
        if count > 1:
            yield f"query parameter {name} is repeated"
    for name, value in pairs:
        if not value or (name == "teamId" and not value.startswith("team_")):
            yield f"query parameter {name} is {value!r}"


def _json_violations(operation: str, body: bytes) -> Iterator[str]:
    try:
        content = _parse(body)
    except (ValueError, RecursionError) as error:
        yield f"$ is not strict JSON: {error}"
        return
    if operation == "recordEvents" and isinstance(content, list):
        for index, item in enumerate(content):
            yield from _event_violations(f"$[{index}]", item)
    elif operation == "recordEvents" or not _is_hash_query(content):
        yield f"$ is {reprlib.repr(content)}"


def _event_violations(where: str, item: object) -> Iterator[str]:
    if not isinstance(item, dict):
        yield f"{where} is {reprlib.repr(item)}"
        return
    required = [key for key in EVENT_FIELDS if key != "duration"]
    yield from (f"{where}.{key} is missing" for key in required if key not in item)
    for key, value in item.items():
        if key not in EVENT_FIELDS:
            yield f"{where}.{key} is not allowed"
        elif not EVENT_FIELDS[key](value):
            yield f"{where}.{key} is {reprlib.repr(value)}"


def _is_hash_query(content: object) -> bool:
    if not isinstance(content, dict) or content.keys() != {"hashes"}:
        return False
    hashes = content["hashes"]
    return isinstance(hashes, list) and all(isinstance(name, str) for name in hashes)


def _parse(body: bytes) -> Any:
    content = json.loads(body.decode(), object_pairs_hook=_reject_duplicate_keys)
    # Python accepts NaN, infinities and lone surrogates when it decodes; only encoding is strict.
    json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return content


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"a key is repeated in {[key for key, _ in pairs]}")
    return content
