"""The seven operations of the contract, sent as the real clients send them.

`Turbo` sends the same bytes as turbo 2.11.11. turbo never deletes, so that request has the form of
the others. `VercelSdk` is the real @vercel/sdk.
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

from tests.support.node_packages import NodePackages
from tests.support.server import Server
from tests.support.vercel_sdk import SdkBatch

OPERATIONS = (
    "status",
    "uploadArtifact",
    "artifactExists",
    "downloadArtifact",
    "artifactQuery",
    "recordEvents",
    "deleteAllArtifacts",
)
"""Operation ids in the order in which a client sends them."""

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
class SampleBuild:
    """An artifact and events of one run, with ids in the form of turbo's."""

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


class Credentials(NamedTuple):
    """A token, if any, and the query parameters that name a team."""

    token: str | None
    team: dict[str, str]


class Outcome(NamedTuple):
    """Result of one operation.

    `error` is the status and code of an error response; the code is None for HEAD, which has no
    body. `value` is the content of a successful response.
    """

    error: tuple[int, str | None] | None
    value: Any


Outcomes = dict[str, Outcome]
Send = Callable[[Server, Credentials, SampleBuild], Outcomes]
"""Sends the seven operations and returns the outcome of each."""


def errors_of(outcomes: Outcomes) -> dict[str, tuple[int, str | None]]:
    """Return status and code of each operation that failed."""
    return {name: o.error for name, o in outcomes.items() if o.error is not None}


def expected_errors(status: int, code: str, *allowed: str) -> dict[str, tuple[int, str | None]]:
    """Return what `errors_of` returns if all operations fail, except the allowed ones."""
    return {
        name: (status, None if name == "artifactExists" else code)
        for name in OPERATIONS
        if name not in allowed
    }


class Turbo:
    """Client that sends requests like turbo and, like turbo, reuses connections."""

    def __init__(self) -> None:
        self._http = httpx.Client(timeout=30)
        self._http.headers.clear()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __call__(self, server: Server, caller: Credentials, build: SampleBuild) -> Outcomes:
        return {name: self.send(server, caller, build, name) for name in OPERATIONS}

    def send(
        self, server: Server, caller: Credentials, build: SampleBuild, operation: str
    ) -> Outcome:
        """Send one operation and return its outcome."""
        return _outcome(operation, self.request(server, caller, build, operation))

    def request(
        self, server: Server, caller: Credentials, build: SampleBuild, operation: str
    ) -> httpx.Response:
        """Send one operation and return the response."""
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


def _request(operation: str, build: SampleBuild) -> tuple[str, str, dict[str, str], bytes | None]:
    """Return method, path, headers and body of an operation."""
    artifact_path = f"/{build.hash}"
    match operation:
        case "status":
            return "GET", "/status", _AGENT | _JSON, None
        case "uploadArtifact":
            return "PUT", artifact_path, _UPLOAD, build.content
        case "artifactExists":
            return "HEAD", artifact_path, _AGENT, None
        case "downloadArtifact":
            return "GET", artifact_path, _AGENT, None
        case "artifactQuery":
            return "POST", "", _AGENT | _JSON, _compact({"hashes": [build.hash]})
        case "recordEvents":
            return "POST", "/events", _JSON, _compact(build.events)
        case "deleteAllArtifacts":
            return "DELETE", "", _AGENT, None
    raise AssertionError(operation)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _outcome(operation: str, response: httpx.Response) -> Outcome:
    if response.status_code >= 400:
        code = error_code(response) if operation != "artifactExists" else None
        return Outcome((response.status_code, code), None)
    if operation == "downloadArtifact":
        assert response.headers["x-artifact-duration"] == str(DURATION_MS)
        return Outcome(None, response.content)
    return Outcome(None, response.json() if response.content else None)


def error_code(response: httpx.Response) -> str:
    """Return the code of an error response, after checking both published forms of the body."""
    body = response.json()
    code, message = str(body["code"]), str(body["message"])
    assert body == {"error": {"code": code, "message": message}, "code": code, "message": message}
    assert message
    return code


class VercelSdk:
    """Client that runs the real SDK, in one Node process for all seven operations."""

    def __init__(self, packages: NodePackages) -> None:
        self._packages = packages

    def __call__(self, server: Server, caller: Credentials, build: SampleBuild) -> Outcomes:
        target = copy.copy(server)
        target.token = caller.token or ""
        sdk = SdkBatch(self._packages, target)
        sdk.call("status", **caller.team)
        fields: dict[str, Any] = {"xArtifactDuration": DURATION_MS, "xArtifactClientCi": CI}
        fields |= caller.team
        sdk.upload(build.hash, build.content, **fields)
        for operation in ("artifactExists", "downloadArtifact"):
            sdk.call(operation, hash=build.hash, **caller.team)
        sdk.call("artifactQuery", requestBody={"hashes": [build.hash]}, **caller.team)
        sdk.call("recordEvents", requestBody=build.events, **caller.team)
        sdk.call("deleteAllArtifacts", **caller.team)
        return dict(zip(OPERATIONS, map(_sdk_outcome, sdk.outcomes()), strict=True))


def _sdk_outcome(outcome: dict[str, Any]) -> Outcome:
    if "error" in outcome:
        error = outcome["error"]
        body = json.loads(error["body"]) if error["body"] else {"error": {"code": None}}
        return Outcome((error["statusCode"], body["error"]["code"]), None)
    value = outcome["value"]
    if isinstance(value, dict) and set(value) == {"base64"}:
        value = base64.b64decode(value["base64"])
    return Outcome(None, value)
