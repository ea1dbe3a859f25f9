"""Each operation of the real `@vercel/sdk` with the server."""

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

# From the published example: the server must also accept hashes unlike turbo's.
HASH = "12HKQaOmR5t5Uy6vdcQsNIiZgHGB"
HIT: dict[str, Any] = {"source": "LOCAL", "event": "HIT", "hash": HASH, "duration": 400}
MISS: dict[str, Any] = {"source": "REMOTE", "event": "MISS", "hash": "h2"}
CONTENT = random.Random("an artifact").randbytes(100_000)
METADATA: dict[str, Any] = {
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
    """A name that no other test uses on the shared server."""
    return str(uuid.uuid4())


def test_recorded_events_can_be_read_back(sdk: SdkBatch, unique: str) -> None:
    headers = {"xArtifactClientCi": "VERCEL", "xArtifactClientInteractive": 1}
    events = [{"sessionId": unique, **HIT}, {"sessionId": unique, **MISS}]
    sdk.call("recordEvents", slug=sdk.server.team, requestBody=events, **headers)

    sdk.values()

    recorded = eventually(lambda: sdk.server.events(sessionId=unique))
    client_info = {"ci": "VERCEL", "interactive": 1}
    assert _normalized(recorded) == _normalized(
        [HIT | client_info, MISS | {"duration": None} | client_info]
    )


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

    rejected, accepted = sdk.outcomes()

    assert rejected["error"]["statusCode"] == 400
    assert json.loads(rejected["error"]["body"])["error"]["code"] == "bad_request"
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
    sdk.upload(unique, CONTENT, stream=stream, **METADATA)
    sdk.call("artifactExists", hash=unique)
    sdk.call("downloadArtifact", hash=unique)

    uploaded, exists, downloaded = sdk.values()

    assert [urlsplit(url).path for url in uploaded["urls"]] == [f"/v8/artifacts/{unique}"]
    assert exists is None
    assert base64.b64decode(downloaded["base64"]) == CONTENT


def test_missing_artifact_is_not_found(sdk: SdkBatch) -> None:
    sdk.call("artifactExists", hash="missing")
    sdk.call("downloadArtifact", hash="missing")

    assert [outcome["error"]["statusCode"] for outcome in sdk.outcomes()] == [404, 404]


def test_query_returns_the_metadata_of_each_artifact(sdk: SdkBatch) -> None:
    sdk.upload("with-metadata", CONTENT, **METADATA)
    sdk.upload("without-metadata", b"plain")
    sdk.call(
        "artifactQuery", requestBody={"hashes": ["with-metadata", "without-metadata", "missing"]}
    )

    *_, info = sdk.values()

    assert info["with-metadata"] == {
        "size": len(CONTENT),
        "taskDurationMs": METADATA["xArtifactDuration"],
        "tag": METADATA["xArtifactTag"],
    }
    assert info["without-metadata"]["size"] == len(b"plain")
    assert info["missing"] is None


def test_delete_all_returns_the_number_of_artifacts(
    node_packages: NodePackages, server: Server
) -> None:
    sdk = SdkBatch(node_packages, server)
    sdk.upload("a", CONTENT)
    sdk.upload("b", b"plain")
    sdk.call("deleteAllArtifacts")
    sdk.call("artifactQuery", requestBody={"hashes": ["a", "b"]})

    *_, deleted, remaining = sdk.values()

    assert deleted == {"deletedCount": 2}
    assert remaining == {"a": None, "b": None}


def _normalized(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields that requests and reports share, in a defined order."""
    names = ("source", "event", "hash", "duration", "ci", "interactive")
    return sorted(({name: event[name] for name in names} for event in events), key=json.dumps)
