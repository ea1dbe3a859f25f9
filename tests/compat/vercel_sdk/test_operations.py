"""Holds the server to what the real `@vercel/sdk` accepts as an answer, operation by operation."""

from __future__ import annotations

import base64
import json
import random
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.node_packages import Clients
from tests.support.server import Server, eventually
from tests.support.vercel_sdk import Sdk

# From the published example: the server must not insist on what turbo's hashes look like.
HASH = "12HKQaOmR5t5Uy6vdcQsNIiZgHGB"
HIT: dict[str, Any] = {"source": "LOCAL", "event": "HIT", "hash": HASH, "duration": 400}
MISS: dict[str, Any] = {"source": "REMOTE", "event": "MISS", "hash": "h2"}
CONTENT = random.Random("an artifact").randbytes(100_000)
FACTS: dict[str, Any] = {
    "xArtifactDuration": 400,
    "xArtifactTag": "Tc0BmHvJYMIYJ62/zx87YqO0Flxk+5Ovip25NY825CQ=",
    "xArtifactClientCi": "VERCEL",
    "xArtifactClientInteractive": 0,
}


@pytest.fixture
def sdk(clients: Clients, shared_server: Server) -> Sdk:
    return Sdk(clients, shared_server)


@pytest.fixture
def unique() -> str:
    """A name that nothing else on the shared server has."""
    return str(uuid.uuid4())


def test_events_that_the_sdk_records_can_be_read_back(sdk: Sdk, unique: str) -> None:
    headers = {"xArtifactClientCi": "VERCEL", "xArtifactClientInteractive": 1}
    events = [{"sessionId": unique, **HIT}, {"sessionId": unique, **MISS}]
    sdk.call("recordEvents", slug=sdk.server.team, requestBody=events, **headers)

    sdk.values()

    recorded = eventually(lambda: sdk.server.events(sessionId=unique))
    facts = {"ci": "VERCEL", "interactive": 1}
    assert _in_order(recorded) == _in_order([HIT | facts, MISS | {"duration": None} | facts])


def test_no_events_are_valid_events(sdk: Sdk) -> None:
    sdk.call("recordEvents", requestBody=[])

    assert sdk.values() == [None]


@pytest.mark.parametrize(
    "headers",
    [
        {"xArtifactClientCi": "c" * 51},
        {"xArtifactClientInteractive": 5},
        {"xArtifactClientInteractive": -1},
    ],
    ids=["ci too long", "interactive too large", "interactive negative"],
)
def test_headers_that_the_sdk_does_not_check_are_refused_and_nothing_is_recorded(
    sdk: Sdk, unique: str, headers: dict[str, Any]
) -> None:
    sdk.call("recordEvents", requestBody=[{"sessionId": unique, **MISS}], **headers)
    sdk.call("recordEvents", requestBody=[{"sessionId": unique, **HIT}])

    refused, accepted = sdk.outcomes()

    assert refused["error"]["statusCode"] == 400
    assert json.loads(refused["error"]["body"])["error"]["code"] == "bad_request"
    assert accepted == {"value": None}
    [recorded] = eventually(lambda: sdk.server.events(sessionId=unique))
    assert recorded["event"] == "HIT"


def test_the_status_is_enabled(sdk: Sdk) -> None:
    sdk.call("status", slug=sdk.server.team)

    assert sdk.values() == [{"status": "enabled"}]


@pytest.mark.parametrize("stream", [False, True], ids=["sized", "streamed"])
def test_an_uploaded_artifact_comes_back_byte_for_byte(sdk: Sdk, unique: str, stream: bool) -> None:
    sdk.upload(unique, CONTENT, stream=stream, **FACTS)
    sdk.call("artifactExists", hash=unique)
    sdk.call("downloadArtifact", hash=unique)

    uploaded, exists, downloaded = sdk.values()

    assert [urlsplit(url).path for url in uploaded["urls"]] == [f"/v8/artifacts/{unique}"]
    assert exists is None
    assert base64.b64decode(downloaded["base64"]) == CONTENT


def test_an_artifact_that_nobody_uploaded_is_not_found(sdk: Sdk) -> None:
    sdk.call("artifactExists", hash="nope")
    sdk.call("downloadArtifact", hash="nope")

    assert [outcome["error"]["statusCode"] for outcome in sdk.outcomes()] == [404, 404]


def test_a_query_tells_what_is_known_of_each_artifact(sdk: Sdk) -> None:
    sdk.upload("with-facts", CONTENT, **FACTS)
    sdk.upload("without", b"plain")
    sdk.call("artifactQuery", requestBody={"hashes": ["with-facts", "without", "nope"]})

    *_, found = sdk.values()

    assert found["with-facts"] == {
        "size": len(CONTENT),
        "taskDurationMs": FACTS["xArtifactDuration"],
        "tag": FACTS["xArtifactTag"],
    }
    assert found["without"]["size"] == len(b"plain")
    assert found["nope"] is None


def test_deleting_all_artifacts_tells_how_many_there_were(clients: Clients, server: Server) -> None:
    sdk = Sdk(clients, server)
    sdk.upload("a", CONTENT)
    sdk.upload("b", b"plain")
    sdk.call("deleteAllArtifacts")
    sdk.call("artifactQuery", requestBody={"hashes": ["a", "b"]})

    *_, deleted, left = sdk.values()

    assert deleted == {"deletedCount": 2}
    assert left == {"a": None, "b": None}


def _in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is told of events in two ways, reduced to what both tell, in one order."""
    names = ("source", "event", "hash", "duration", "ci", "interactive")
    return sorted(({name: event[name] for name in names} for event in events), key=json.dumps)
