"""The seven operations of the contract as the real clients send them, and what comes of each.

`Turbo` puts on the wire what turbo 2.11.11 was seen to put there, which never deletes: that one
request it sends like its others. `VercelSdk` is the real @vercel/sdk.
"""

import base64
import copy
import hashlib
import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from tests.support.node_packages import Clients
from tests.support.server import Server
from tests.support.vercel_sdk import Sdk

OPERATIONS = (
    "status",
    "uploadArtifact",
    "artifactExists",
    "downloadArtifact",
    "artifactQuery",
    "recordEvents",
    "deleteAllArtifacts",
)
"""In the order in which they are sent."""

CI = "GITHUB_ACTIONS"
DURATION_MS = 195

_AGENT = {"user-agent": "turbo 2.11.11 1.98.0-nightly linux x86_64"}
_JSON = {"content-type": "application/json"}
_UPLOAD = {
    "content-type": "application/octet-stream",
    "x-artifact-duration": str(DURATION_MS),
    **_AGENT,
    "x-artifact-client-ci": CI,
    "x-artifact-sha": "2854fcd90bad5ac54752fa71727abdf0d5750f5d",
    "x-artifact-dirty-hash": "5f95f9c7904fa39544063deaa1ab4d0993807e61e5562dc0439d1c554f2ce9b0",
}


@dataclass(frozen=True)
class Build:
    """What one run of a client stores, asks for and records: named as turbo names things."""

    hash: str = field(default_factory=lambda: secrets.token_hex(8))
    session: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def content(self) -> bytes:
        return hashlib.sha512(self.hash.encode()).digest() * 5

    @property
    def events(self) -> list[dict[str, Any]]:
        return [
            {
                "sessionId": self.session,
                "source": source,
                "event": "MISS",
                "hash": self.hash,
                "duration": 0,
            }
            for source in ("LOCAL", "REMOTE")
        ]


class Caller(NamedTuple):
    """Who calls: a token, if any, and the query that names a team."""

    token: str | None
    team: dict[str, str]


class Outcome(NamedTuple):
    """Of one operation. `refused` is the status, if it is an error, with the code that the answer
    carries, which one to HEAD cannot; `value` is what came of it otherwise."""

    refused: tuple[int, str | None] | None
    value: Any


Outcomes = dict[str, Outcome]
Send = Callable[[Server, Caller, Build], Outcomes]
"""Sends the seven operations, and tells what came of each."""


def refusals(outcomes: Outcomes) -> dict[str, tuple[int, str | None]]:
    """Those that were refused, with status and code."""
    return {name: o.refused for name, o in outcomes.items() if o.refused is not None}


def all_refused(status: int, code: str, *but: str) -> dict[str, tuple[int, str | None]]:
    """What `refusals` says when all but the operations named are refused so."""
    return {
        name: (status, None if name == "artifactExists" else code)
        for name in OPERATIONS
        if name not in but
    }


class Turbo:
    """Keeps its connections, as turbo does."""

    def __init__(self) -> None:
        self._http = httpx.Client(timeout=30)
        self._http.headers.clear()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __call__(self, server: Server, caller: Caller, build: Build) -> Outcomes:
        return {name: self.send(server, caller, build, name) for name in OPERATIONS}

    def send(self, server: Server, caller: Caller, build: Build, operation: str) -> Outcome:
        """What came of one operation."""
        return _outcome(operation, self.answer(server, caller, build, operation))

    def answer(
        self, server: Server, caller: Caller, build: Build, operation: str
    ) -> httpx.Response:
        """The answer to one operation."""
        method, path, headers, content = _request(operation, build)
        if caller.token is not None:
            headers = {**headers, "authorization": f"Bearer {caller.token}"}
        return self._http.request(
            method,
            f"{server.url}/v8/artifacts{path}",
            params=caller.team,
            headers={**headers, "accept": "*/*"},
            content=content,
        )


def _request(operation: str, build: Build) -> tuple[str, str, dict[str, str], bytes | None]:
    """Method, path, headers and body."""
    one = f"/{build.hash}"
    match operation:
        case "status":
            return "GET", "/status", _AGENT | _JSON, None
        case "uploadArtifact":
            return "PUT", one, _UPLOAD, build.content
        case "artifactExists":
            return "HEAD", one, _AGENT, None
        case "downloadArtifact":
            return "GET", one, _AGENT, None
        case "artifactQuery":
            return "POST", "", _AGENT | _JSON, _compact({"hashes": [build.hash]})
        case "recordEvents":
            return "POST", "/events", _JSON, _compact(build.events)
        case "deleteAllArtifacts":
            return "DELETE", "", _AGENT, None
    raise AssertionError(operation)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _outcome(operation: str, answer: httpx.Response) -> Outcome:
    if answer.status_code >= 400:
        code = code_of(answer) if operation != "artifactExists" else None
        return Outcome((answer.status_code, code), None)
    if operation == "downloadArtifact":
        assert answer.headers["x-artifact-duration"] == str(DURATION_MS)
        return Outcome(None, answer.content)
    return Outcome(None, answer.json() if answer.content else None)


def code_of(answer: httpx.Response) -> str:
    """The code of a refusal, whose body has both of the published forms."""
    body = answer.json()
    code, message = str(body["code"]), str(body["message"])
    assert body == {"error": {"code": code, "message": message}, "code": code, "message": message}
    assert message
    return code


class VercelSdk:
    """A process of Node for each seven."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def __call__(self, server: Server, caller: Caller, build: Build) -> Outcomes:
        theirs = copy.copy(server)
        theirs.token = caller.token or ""
        sdk = Sdk(self._clients, theirs)
        sdk.call("status", **caller.team)
        facts: dict[str, Any] = {"xArtifactDuration": DURATION_MS, "xArtifactClientCi": CI}
        facts |= caller.team
        sdk.upload(build.hash, build.content, **facts)
        for operation in ("artifactExists", "downloadArtifact"):
            sdk.call(operation, hash=build.hash, **caller.team)
        sdk.call("artifactQuery", requestBody={"hashes": [build.hash]}, **caller.team)
        sdk.call("recordEvents", requestBody=build.events, **caller.team)
        sdk.call("deleteAllArtifacts", **caller.team)
        return dict(zip(OPERATIONS, map(_told, sdk.outcomes()), strict=True))


def _told(outcome: dict[str, Any]) -> Outcome:
    if "error" in outcome:
        error = outcome["error"]
        body = json.loads(error["body"]) if error["body"] else {"error": {"code": None}}
        return Outcome((error["statusCode"], body["error"]["code"]), None)
    value = outcome["value"]
    if isinstance(value, dict) and set(value) == {"base64"}:
        value = base64.b64decode(value["base64"])
    return Outcome(None, value)
