"""Owns a strict fake of the artifacts API, the judge of what a client puts on the wire.

Promises to note in `violations` whatever a request does that the published contract does not
allow, also where real servers are lenient, to refuse it, and to play scripted failures, so that
a client meets them at a known request. Holds all in memory; `fake_wire` does the listening.
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

from tests.support.strict_fake_http import BODYLESS_STATUSES, Listener, Received, Reply

ROOT = "/v8/artifacts"
FIXED_PATHS = {
    f"{ROOT}/events": {"POST": "recordEvents"},
    f"{ROOT}/status": {"GET": "status"},
    ROOT: {"POST": "artifactQuery", "DELETE": "deleteAllArtifacts"},
}
ARTIFACT_METHODS = {"PUT": "uploadArtifact", "GET": "downloadArtifact", "HEAD": "artifactExists"}
ARTIFACT_PATH = re.compile(ROOT + r"/(?!\.{1,2}$)([\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", re.ASCII)
BODIES = {
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
HEADERS = {
    "recordEvents": CLIENT_HEADERS,
    "downloadArtifact": CLIENT_HEADERS | {"accept-encoding": re.compile("identity")},
    "uploadArtifact": CLIENT_HEADERS | METADATA_HEADERS,
}
EVENT: dict[str, Callable[[object], bool]] = {
    "sessionId": lambda value: isinstance(value, str),
    "source": lambda value: value in ("LOCAL", "REMOTE"),
    "event": lambda value: value in ("HIT", "MISS"),
    "hash": lambda value: isinstance(value, str),
    "duration": lambda value: type(value) in (int, float),  # A bool is an int only to Python.
}


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact and those of its metadata headers that came with it."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Answers with exactly this; nothing is stored. A dict goes out as JSON."""

    status: int
    body: bytes | dict[str, Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuse:
    """Refuses in the contract's error shape; nothing is stored."""

    status: int
    code: str
    message: str = "RequestError by the test's script"
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> Answer:
        flat = {"code": self.code, "message": self.message}
        return Answer(self.status, {"error": flat, **flat}, self.headers)


@dataclass(frozen=True)
class HangUp:
    """Reads the request and closes the connection unanswered, the work done only if `store`."""

    store: bool = False


@dataclass(frozen=True)
class Truncate:
    """Answers normally, but closes the connection after `keep_bytes` of the promised body."""

    keep_bytes: int


@dataclass(frozen=True)
class Pass:
    """Answers normally."""


@dataclass(frozen=True)
class Stall:
    """Reads the request and answers nothing until the fake is closed; nothing is stored."""


Step = Answer | Refuse | HangUp | Truncate | Pass | Stall


@dataclass(eq=False)
class StrictFake:
    """Listens on `url` from `open()` to `close()`; opened again, it has the same address.

    A request is noted, judged and answered as one: `received`, `violations`, `events` and
    `artifacts` tell of it before its answer goes out, however many connections there are.
    """

    token: str = "fake-token"
    team_id: str = "team_fake"
    slug: str = "fake-team"
    status: str = "enabled"
    url: str = field(default="", init=False)
    received: list[Received] = field(default_factory=list, init=False)
    violations: list[str] = field(default_factory=list, init=False)
    events: list[dict[str, Any]] = field(default_factory=list, init=False)
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._port = 0
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._steps: deque[Step] = deque()
        self._batches: set[bytes] = set()
        self._closed = threading.Event()

    def script(self, *steps: Step) -> None:
        """The next requests meet these, one each; those after them are answered normally."""
        with self._lock:
            self._steps.extend(steps)

    def open(self) -> None:
        if self._listener is None:
            self._closed.clear()
            self._listener = Listener(self._port, self._take)
            self._port = self._listener.server_address[1]
            self.url = f"http://127.0.0.1:{self._port}"
            self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,))
            self._thread.start()

    def close(self) -> None:
        if self._listener is not None and self._thread is not None:
            self._closed.set()
            self._listener.shutdown()
            self._thread.join()
            self._listener.hang_up()
            self._listener.server_close()
            self._listener = self._thread = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, request: Received, faults: list[str]) -> Reply | None:
        """The reply, or `None` to hang up; `faults` are those seen while the request was read."""
        with self._lock:
            self.received.append(request)
            refusal = self._judge(request, faults)
            match step := self._steps.popleft() if self._steps else Pass():
                case HangUp(store=False):
                    return None
                case Stall():
                    reply = None
                case Answer():
                    reply = self._sign(step)
                case Refuse():
                    reply = self._sign(step.answer())
                case _:
                    reply = self._sign(refusal.answer() if refusal else self._perform(request))
        if isinstance(step, Stall):
            self._closed.wait()
        if reply is None or isinstance(step, HangUp):
            return None
        return replace(reply, keep_bytes=step.keep_bytes) if isinstance(step, Truncate) else reply

    def _sign(self, answer: Answer) -> Reply:
        """The answer with the request id that every one carries, and its body as bytes."""
        headers = {"x-vercel-id": f"fake::{len(self.received)}"}
        body = answer.body
        if isinstance(body, dict):
            headers["content-type"] = "application/json"
            body = json.dumps(body).encode()
        if answer.status not in BODYLESS_STATUSES:
            headers["content-length"] = str(len(body))
        given = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, headers | given, body)

    def _judge(self, request: Received, faults: list[str]) -> Refuse | None:
        methods = _methods(request.path)
        operation = methods.get(request.method)
        if operation is None:
            fault = f"{request.method} {request.path} is not part of the contract"
            self.violations += [fault, *faults]
            if methods:
                return Refuse(405, "method_not_allowed", fault, {"allow": ", ".join(methods)})
            return Refuse(404, "not_found", fault)
        if found := [*faults, *_faults(operation, request)]:
            self.violations += [f"{operation}: {fault}" for fault in found]
            return Refuse(400, "bad_request", "; ".join(found))
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Refuse(401, "unauthorized", "The token is missing or not known")
        if request.query.items() - {"teamId": self.team_id, "slug": self.slug}.items():
            return Refuse(403, "forbidden", "The token may not use this team")
        return None

    def _perform(self, request: Received) -> Answer:
        match _methods(request.path)[request.method]:
            case "recordEvents":
                return self._record(request.body)
            case "status":
                return Answer(200, {"status": self.status})
            case "artifactQuery":
                hashes = _parse(request.body)["hashes"]
                return Answer(200, {name: self._summary(name) for name in hashes})
            case "deleteAllArtifacts":
                count = len(self.artifacts)
                self.artifacts.clear()
                return Answer(200, {"deletedCount": count})
            case "uploadArtifact":
                metadata = {k: v for k, v in request.headers.items() if k in METADATA_HEADERS}
                self.artifacts[_hash(request)] = StoredArtifact(request.body, metadata)
                return Answer(202, {"urls": [self.url + request.path]})
            case _:
                return self._find(request)

    def _record(self, body: bytes) -> Answer:
        """Count the batch, unless it is one sent again: there is no other idempotency key."""
        if body not in self._batches:
            self._batches.add(body)
            self.events += _parse(body)
        return Answer(200, {})

    def _find(self, request: Received) -> Answer:
        found = self.artifacts.get(_hash(request))
        if found is None:
            return Refuse(404, "not_found", "Artifact not found").answer()
        accept = request.headers.get("accept", "*/*")
        as_json = "application/json" in accept and "*/*" not in accept
        label = "application/json" if as_json else "application/octet-stream"
        return Answer(200, found.content, {"content-type": label, **found.headers})

    def _summary(self, name: str) -> dict[str, Any] | None:
        found = self.artifacts.get(name)
        if found is None:
            return None
        duration = float(found.headers.get("x-artifact-duration", "0"))
        tag = found.headers.get("x-artifact-tag")
        return {
            "size": len(found.content),
            "taskDurationMs": int(duration) if duration.is_integer() else duration,
            **({} if tag is None else {"tag": tag}),
        }


def _methods(path: str) -> dict[str, str]:
    """The operations at `path` by their method; none if it is unknown."""
    return FIXED_PATHS.get(path) or (ARTIFACT_METHODS if ARTIFACT_PATH.fullmatch(path) else {})


def _hash(request: Received) -> str:
    return unquote(request.path.removeprefix(f"{ROOT}/"))


def _faults(operation: str, request: Received) -> Iterator[str]:
    """All that the contract does not allow in a request whose framing was read."""
    headers = request.headers
    yield from _query_faults(request.target.partition("?")[2])
    yield from (f"{name} is missing" for name in ("host", "user-agent") if not headers.get(name))
    if "content-encoding" in headers:
        yield f"content-encoding is {headers['content-encoding']!r}"
    for name, pattern in HEADERS.get(operation, {}).items():
        if name in headers and not pattern.fullmatch(headers[name]):
            yield f"{name} is {reprlib.repr(headers[name])}"
    if operation not in BODIES:
        if request.body or "transfer-encoding" in headers:
            yield "a body came where none is allowed"
        return
    if headers.get("content-type") != BODIES[operation]:
        yield f"content-type is {headers.get('content-type')!r}"
    if not headers.keys() & {"content-length", "transfer-encoding"}:
        yield "neither content-length nor transfer-encoding came"
    if BODIES[operation] == "application/json":
        yield from _json_faults(operation, request.body)


def _query_faults(query: str) -> Iterator[str]:
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


def _json_faults(operation: str, body: bytes) -> Iterator[str]:
    try:
        content = _parse(body)
    except (ValueError, RecursionError) as error:
        yield f"$ is no strict JSON: {error}"
        return
    if operation == "recordEvents" and isinstance(content, list):
        for index, item in enumerate(content):
            yield from _event_faults(f"$[{index}]", item)
    elif operation == "recordEvents" or not _asks_for_hashes(content):
        yield f"$ is {reprlib.repr(content)}"


def _event_faults(where: str, item: object) -> Iterator[str]:
    if not isinstance(item, dict):
        yield f"{where} is {reprlib.repr(item)}"
        return
    required = [key for key in EVENT if key != "duration"]
    yield from (f"{where}.{key} is missing" for key in required if key not in item)
    for key, value in item.items():
        if key not in EVENT:
            yield f"{where}.{key} is not allowed"
        elif not EVENT[key](value):
            yield f"{where}.{key} is {reprlib.repr(value)}"


def _asks_for_hashes(content: object) -> bool:
    if not isinstance(content, dict) or content.keys() != {"hashes"}:
        return False
    hashes = content["hashes"]
    return isinstance(hashes, list) and all(isinstance(name, str) for name in hashes)


def _parse(body: bytes) -> Any:
    content = json.loads(body.decode(), object_pairs_hook=_unrepeated)
    # Python also reads NaN, infinities and lone surrogates; writing is where it can be strict.
    json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return content


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"a key is repeated among {[key for key, _ in pairs]}")
    return content
