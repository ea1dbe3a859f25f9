"""The Python clients send the same requests as the real `@vercel/sdk`."""

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

TEAM_ID = "replaced by the id of the server's team"
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

# Calls of recordEvents, with the names of the SDK.
EVENT_CALLS: dict[str, dict[str, Any]] = {
    "all options": {**TEAM, **CLIENT, "requestBody": [HIT]},
    "a hit and a miss": {"requestBody": [HIT, MISS]},
    "no events": {"requestBody": []},
    "no events, with a team": {**TEAM, "requestBody": []},
    "fractional duration": {"requestBody": [{**HIT, "duration": 0.5}]},
    "duration with many digits": {"requestBody": [{**HIT, "duration": 1234.5678901234567}]},
    "duration of zero": {"requestBody": [{**HIT, "duration": 0}]},
    "non-ASCII text": {"requestBody": [{**MISS, "sessionId": "ä€😀\u2028"}]},
    "escapes": {"requestBody": [{**MISS, "hash": '"\\/\b\n\t\x01\x7f<&'}]},
    "another order of fields": {"requestBody": [dict(reversed(HIT.items()))]},
    "interactive": {"xArtifactClientInteractive": 1, "requestBody": [HIT]},
    "slug with special characters": {"slug": "a&b=c/d?ä+%", "requestBody": [HIT]},
    "slug with a space": {"slug": "a b", "requestBody": [HIT]},
}
OTHER_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "status": ("status", {}),
    "status with a team": ("status", TEAM),
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
    "exists, missing": ("artifactExists", {"hash": "missing"}),
    "download": ("downloadArtifact", {**TEAM, "hash": "h1"}),
    "download with special characters": ("downloadArtifact", {"hash": "a/b ä%2F?#"}),
    "query": ("artifactQuery", {**TEAM, "requestBody": {"hashes": ["h1", "missing", "ä"]}}),
}
CALLS = {name: ("recordEvents", request) for name, request in EVENT_CALLS.items()} | OTHER_CALLS

PYTHON_METHODS: dict[str, Callable[..., object]] = {
    "recordEvents": ClientAdapter.record_events,
    "status": ClientAdapter.status,
    "uploadArtifact": lambda client, request_body, **options: client.upload(
        content=base64.b64decode(request_body["base64"]), **options
    ),
    "artifactExists": ClientAdapter.exists,
    "downloadArtifact": ClientAdapter.download,
    "artifactQuery": lambda client, request_body, **options: client.query(
        **request_body, **options
    ),
}
# Headers that both clients set; others depend on the HTTP library.
COMPARED_HEADERS = (
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
def sdk_exchanges(
    node_packages: NodePackages, shared_server: Server, team_id: str
) -> dict[str, Exchange]:
    """The exchange of each call when the SDK makes it."""
    with RecordingProxy(shared_server.url) as proxy:
        sdk = SdkBatch(node_packages, shared_server, proxy.url)
        for operation, request in CALLS.values():
            sdk.call(operation, **with_team_id(request, team_id))
        sdk.outcomes()
        eventually(lambda: len(proxy.exchanges) >= len(CALLS))
        return dict(zip(CALLS, proxy.exchanges, strict=True))


@pytest.fixture(params=CLIENT_CLASSES, ids=lambda client_class: client_class.__name__)
def python_exchange(
    request: pytest.FixtureRequest, shared_server: Server, team_id: str
) -> Callable[[str], Exchange]:
    """A function that makes a call with a Python client, and returns the exchange."""
    client_class: ClientClass = request.param

    def python_exchange(name: str) -> Exchange:
        operation, arguments = CALLS[name]
        with (
            RecordingProxy(shared_server.url) as proxy,
            ClientAdapter(
                client_class, bearer_token=shared_server.token, server_url=proxy.url
            ) as client,
        ):
            with suppress(HitrateError):  # errors are compared by status
                PYTHON_METHODS[operation](
                    client, **with_python_names(with_team_id(arguments, team_id))
                )
            [exchange] = eventually(lambda: proxy.exchanges)
            return exchange

    return python_exchange


@pytest.mark.parametrize("name", EVENT_CALLS)
def test_record_events_sends_the_same_request_as_the_sdk(
    sdk_exchanges: dict[str, Exchange], python_exchange: Callable[[str], Exchange], name: str
) -> None:
    expected, actual = sdk_exchanges[name], python_exchange(name)

    assert line(actual) == line(expected)
    assert headers(actual) == headers(expected)
    assert actual.request_body == expected.request_body
    assert actual.status == expected.status


@pytest.mark.parametrize("name", OTHER_CALLS)
def test_other_operations_send_the_same_request_as_the_sdk(
    sdk_exchanges: dict[str, Exchange], python_exchange: Callable[[str], Exchange], name: str
) -> None:
    expected, actual = sdk_exchanges[name], python_exchange(name)

    assert line(actual) == line(expected)
    assert actual.request_body == expected.request_body
    assert actual.status == expected.status


def line(exchange: Exchange) -> str:
    return f"{exchange.method} {exchange.target}"


def headers(exchange: Exchange) -> dict[str, str | None]:
    return {name: exchange.request_headers.get(name) for name in COMPARED_HEADERS}


def with_team_id(request: dict[str, Any], team_id: str) -> dict[str, Any]:
    return {**request, "teamId": team_id} if "teamId" in request else request


def with_python_names(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request with Python's names: `x_artifact_client_ci` for `xArtifactClientCi`."""
    arguments = {re.sub("(?=[A-Z])", "_", name).lower(): value for name, value in request.items()}
    return {"name" if name == "hash" else name: value for name, value in arguments.items()}
