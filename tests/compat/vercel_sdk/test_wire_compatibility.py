"""Holds the Python node_packages to putting on the wire what the real `@vercel/sdk` puts there."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from hitrate.client import HitrateError
from tests.support.client_adapter import CLIENT_CLASSES, ClientAdapter, ClientClass
from tests.support.node_packages import NodePackages
from tests.support.recording_proxy import Exchange, RecordingProxy
from tests.support.server import Server, eventually
from tests.support.vercel_sdk import SdkBatch

TEAM_ID = "the id of the server's team"
SESSION = "7a1d3c0e-5b1f-4c57-9d0b-0a6f2f6a9c11"
HIT: dict[str, Any] = {
    "sessionId": SESSION,
    "source": "LOCAL",
    "event": "HIT",
    "hash": "12HKQaOmR5t5Uy6vdcQsNIiZgHGB",
    "duration": 400,
}
MISS: dict[str, Any] = {"sessionId": SESSION, "source": "REMOTE", "event": "MISS", "hash": "h2"}
TEAM = {"teamId": TEAM_ID, "slug": "default"}
CLIENT = {"xArtifactClientCi": "VERCEL", "xArtifactClientInteractive": 0}
CONTENT = b"an artifact"

# Calls of recordEvents, as the SDK names what they are given.
RECORDED: dict[str, dict[str, Any]] = {
    "all that there is": {**TEAM, **CLIENT, "requestBody": [HIT]},
    "a hit and a miss": {"requestBody": [HIT, MISS]},
    "no events": {"requestBody": []},
    "no events of a team": {**TEAM, "requestBody": []},
    "a fraction": {"requestBody": [{**HIT, "duration": 0.5}]},
    "a fraction of many digits": {"requestBody": [{**HIT, "duration": 1234.5678901234567}]},
    "no time": {"requestBody": [{**HIT, "duration": 0}]},
    "other than ASCII": {"requestBody": [{**MISS, "sessionId": "ä€😀\u2028"}]},
    "escapes": {"requestBody": [{**MISS, "hash": '"\\/\b\n\t\x01\x7f<&'}]},
    "another order": {"requestBody": [dict(reversed(HIT.items()))]},
    "a person": {"xArtifactClientInteractive": 1, "requestBody": [HIT]},
    "an odd slug": {"slug": "a&b=c/d?ä+%", "requestBody": [HIT]},
    "a slug with a blank": {"slug": "a b", "requestBody": [HIT]},
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "status": ("status", {}),
    "status of a team": ("status", TEAM),
    "upload": (
        "uploadArtifact",
        {
            **TEAM,
            "hash": "h1",
            "contentLength": len(CONTENT),
            "requestBody": {"base64": base64.b64encode(CONTENT).decode()},
        },
    ),
    "exists": ("artifactExists", {**TEAM, "hash": "h1"}),
    "exists not": ("artifactExists", {"hash": "nope"}),
    "download": ("downloadArtifact", {**TEAM, "hash": "h1"}),
    "download of an odd hash": ("downloadArtifact", {"hash": "a/b ä%2F?#"}),
    "query": ("artifactQuery", {**TEAM, "requestBody": {"hashes": ["h1", "nope", "ä"]}}),
}
CALLS = {name: ("recordEvents", request) for name, request in RECORDED.items()} | OTHERS

PYTHON: dict[str, Callable[..., object]] = {
    "recordEvents": ClientAdapter.record_events,
    "status": ClientAdapter.status,
    "uploadArtifact": lambda client, request_body, **given: client.upload(
        content=base64.b64decode(request_body["base64"]), **given
    ),
    "artifactExists": ClientAdapter.exists,
    "downloadArtifact": ClientAdapter.download,
    "artifactQuery": lambda client, request_body, **given: client.query(**request_body, **given),
}
# What says whose request it is, and of what: the rest is the HTTP library's own.
HEADERS = (
    "content-type",
    "accept",
    "authorization",
    "content-length",
    "x-artifact-client-ci",
    "x-artifact-client-interactive",
)


@pytest.fixture(scope="module")
def team_id(shared_server: Server) -> str:
    teams = json.loads(shared_server.command("team", "list", "--json"))
    return next(str(team["id"]) for team in teams if team["slug"] == shared_server.team)


@pytest.fixture(scope="module")
def from_sdk(
    node_packages: NodePackages, shared_server: Server, team_id: str
) -> dict[str, Exchange]:
    """What passed for each of the calls when the SDK made it."""
    with RecordingProxy(shared_server.url) as proxy:
        sdk = SdkBatch(node_packages, shared_server, proxy.url)
        for operation, request in CALLS.values():
            sdk.call(operation, **resolved(request, team_id))
        sdk.outcomes()
        eventually(lambda: len(proxy.exchanges) >= len(CALLS))
        return dict(zip(CALLS, proxy.exchanges, strict=True))


@pytest.fixture(params=CLIENT_CLASSES, ids=lambda kind: kind.__name__)
def passed(
    request: pytest.FixtureRequest, shared_server: Server, team_id: str
) -> Callable[[str], Exchange]:
    """Tells what passes for one of the calls when a Python client makes it."""
    kind: ClientClass = request.param

    def passed(name: str) -> Exchange:
        operation, given = CALLS[name]
        with (
            RecordingProxy(shared_server.url) as proxy,
            ClientAdapter(kind, bearer_token=shared_server.token, server_url=proxy.url) as client,
        ):
            with suppress(HitrateError):  # Whatever comes of it: that is to be the same, too.
                PYTHON[operation](client, **in_python(resolved(given, team_id)))
            [exchange] = eventually(lambda: proxy.exchanges)
            return exchange

    return passed


@pytest.mark.parametrize("name", RECORDED)
def test_record_events_sends_the_same_request_as_the_sdk(
    from_sdk: dict[str, Exchange], passed: Callable[[str], Exchange], name: str
) -> None:
    theirs, ours = from_sdk[name], passed(name)

    assert line(ours) == line(theirs)
    assert headers(ours) == headers(theirs)
    assert ours.request_body == theirs.request_body
    assert ours.status == theirs.status


@pytest.mark.parametrize("name", OTHERS)
def test_other_operations_send_the_same_request_as_the_sdk(
    from_sdk: dict[str, Exchange], passed: Callable[[str], Exchange], name: str
) -> None:
    theirs, ours = from_sdk[name], passed(name)

    assert line(ours) == line(theirs)
    assert ours.request_body == theirs.request_body
    assert ours.status == theirs.status


def line(exchange: Exchange) -> str:
    return f"{exchange.method} {exchange.target}"


def headers(exchange: Exchange) -> dict[str, str | None]:
    return {name: exchange.request_headers.get(name) for name in HEADERS}


def resolved(request: dict[str, Any], team_id: str) -> dict[str, Any]:
    return {**request, "teamId": team_id} if "teamId" in request else request


def in_python(request: dict[str, Any]) -> dict[str, Any]:
    """The same by Python's names, `x_artifact_client_ci` for `xArtifactClientCi`."""
    given = {re.sub("(?=[A-Z])", "_", name).lower(): value for name, value in request.items()}
    return {"name" if name == "hash" else name: value for name, value in given.items()}
