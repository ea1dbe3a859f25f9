"""Holds the server to what the real `@vercel/sdk` accepts as an answer, operation by operation."""

from __future__ import annotations

import base64
import json
import random
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.node_packages import NodePackages
from tests.support.server import Server, eventually
from tests.support.vercel_sdk import SdkBatch

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
def sdk(node_packages: NodePackages, shared_server: Server) -> SdkBatch:
    return SdkBatch(node_packages, shared_server)


@pytest.fixture
def unique() -> str:
    """A name that nothing else on the shared server has."""
    return str(uuid.uuid4())


def test_recorded_events_can_be_read_back(sdk: SdkBatch, unique: str) -> None:
    headers = {"xArtifactClientCi": "VERCEL", "xArtifactClientInteractive": 1}
    events = [{"sessionId": unique, **HIT}, {"sessionId": unique, **MISS}]
    sdk.call("recordEvents", slug=sdk.server.team, requestBody=events, **headers)

    sdk.values()

    recorded = eventually(lambda: sdk.server.events(sessionId=unique))
    facts = {"ci": "VERCEL", "interactive": 1}
    assert _in_order(recorded) == _in_order([HIT | facts, MISS | {"duration": None} | facts])


def test_record_events_accepts_an_empty_list(sdk: SdkBatch) -> None:
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
def test_invalid_client_headers_are_rejected_and_nothing_is_recorded(
    sdk: SdkBatch, unique: str, headers: dict[str, Any]
) -> None:
    sdk.call("recordEvents", requestBody=[{"sessionId": unique, **MISS}], **headers)
    sdk.call("recordEvents", requestBody=[{"sessionId": unique, **HIT}])

    refused, accepted = sdk.outcomes()

    assert refused["error"]["statusCode"] == 400
    assert json.loads(refused["error"]["body"])["error"]["code"] == "bad_request"
    assert accepted == {"value": None}
    [recorded] = eventually(lambda: sdk.server.events(sessionId=unique))
    assert recorded["event"] == "HIT"


def test_status_is_enabled(sdk: SdkBatch) -> None:
    sdk.call("status", slug=sdk.server.team)

    assert sdk.values() == [{"status": "enabled"}]


@pytest.mark.parametrize("stream", [False, True], ids=["sized", "streamed"])
def test_uploaded_artifact_is_downloaded_byte_for_byte(
    sdk: SdkBatch, unique: str, stream: bool
) -> None:
    sdk.upload(unique, CONTENT, stream=stream, **FACTS)
    sdk.call("artifactExists", hash=unique)
    sdk.call("downloadArtifact", hash=unique)

    uploaded, exists, downloaded = sdk.values()

    assert [urlsplit(url).path for url in uploaded["urls"]] == [f"/v8/artifacts/{unique}"]
    assert exists is None
    assert base64.b64decode(downloaded["base64"]) == CONTENT


def test_missing_artifact_is_not_found(sdk: SdkBatch) -> None:
    sdk.call("artifactExists", hash="nope")
    sdk.call("downloadArtifact", hash="nope")

    assert [outcome["error"]["statusCode"] for outcome in sdk.outcomes()] == [404, 404]


def test_query_returns_the_metadata_of_each_artifact(sdk: SdkBatch) -> None:
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


def test_delete_all_returns_the_number_of_artifacts(
    node_packages: NodePackages, server: Server
) -> None:
    sdk = SdkBatch(node_packages, server)
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
