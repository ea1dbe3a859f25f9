"""Where a limit falls: never in the middle of a request, but on the next one."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client_operations import Build
from tests.support.server import eventually
from tests.support.team_fixture import Stage

OVER = (403, "remote_caching_over_limit")
PAUSED = (403, "remote_caching_paused")


def limit(stage: Stage, measure: str, more: int) -> None:
    """Let the team use only so much more."""
    stage.api("PATCH", "billing", {"limits": {measure: stage.used()[measure] + more}})


@pytest.mark.parametrize("measure", ["uploadedBytes", "storedBytes"])
def test_the_upload_that_crosses_a_limit_is_stored_and_the_next_refused(
    stage: Stage, measure: str
) -> None:
    limit(stage, measure, 1)
    crossing, beyond = Build(), Build()
    assert stage.send("uploadArtifact", crossing).refused is None
    assert stage.send("uploadArtifact", beyond).refused == OVER
    stage.api("PATCH", "billing", {"limits": {measure: None}})
    assert stage.send("downloadArtifact", crossing).value == crossing.content
    assert stage.send("downloadArtifact", beyond).refused == (404, "not_found")


def test_the_download_that_crosses_a_limit_is_whole_and_the_next_refused(stage: Stage) -> None:
    limit(stage, "downloadedBytes", 1)
    assert stage.send("downloadArtifact").value == stage.kept.content
    assert stage.send("downloadArtifact").refused == OVER
    assert stage.send("uploadArtifact").refused == OVER


def test_the_batch_that_crosses_a_limit_is_recorded_and_the_next_refused(stage: Stage) -> None:
    limit(stage, "events", 1)
    crossing, beyond, after = Build(), Build(), Build()
    assert stage.send("recordEvents", crossing).refused is None
    assert stage.send("recordEvents", beyond).refused == OVER
    stage.api("PATCH", "billing", {"limits": {"events": None}})
    stage.send("recordEvents", after)
    eventually(lambda: after.session in stage.recorded())
    assert stage.recorded() == {build.session for build in (stage.kept, crossing, after)}


def test_as_many_requests_as_the_limit_says_are_answered_misses_too(stage: Stage) -> None:
    limit(stage, "requests", 3)
    assert stage.probe() == 200
    assert stage.send("status").value == {"status": "enabled"}
    assert stage.send("downloadArtifact", Build()).refused == (404, "not_found")
    assert stage.probe() == 200
    assert stage.probe() == 403
    assert stage.send("status").value == {"status": "over_limit"}


@pytest.mark.parametrize(
    ("path", "change", "refused"),
    [
        ("billing", {"limits": {"requests": 0}}, OVER),
        ("billing", {"spendCap": 0}, PAUSED),
        ("settings", {"remoteCaching": False}, (403, "remote_caching_disabled")),
        ("settings", {"requestsPerMinute": 0}, (429, "rate_limited")),
    ],
)
def test_an_upload_under_way_is_stored_whatever_happens_to_its_team(
    stage: Stage, path: str, change: dict[str, Any], refused: tuple[int, str]
) -> None:
    before = stage.api("GET", path)

    def pieces() -> Iterator[bytes]:
        yield b"first, "
        stage.api("PATCH", path, change)
        yield b"then"

    server = stage.house.server
    answer = server.request(
        "PUT", "/v8/artifacts/under-way", content=pieces(), token=stage.token, params=stage.named
    )
    assert answer.status_code == 202
    assert stage.send("downloadArtifact").refused == refused
    undone = {name: before[name] for name in change} if "limits" not in change else {}
    stage.api("PATCH", path, undone or {"limits": {"requests": None}})
    answer = server.request("GET", "/v8/artifacts/under-way", token=stage.token)
    assert answer.content == b"first, then"


def test_a_team_whose_stored_bytes_are_over_the_limit_can_make_room(stage: Stage) -> None:
    limit(stage, "storedBytes", 0)
    assert stage.send("deleteAllArtifacts").refused == OVER
    assert stage.api("DELETE", "artifacts") == {"deletedCount": 1}
    eventually(lambda: stage.send("uploadArtifact").refused is None, seconds=5)


def test_a_refusal_names_the_measures_whose_limits_are_reached(stage: Stage) -> None:
    stage.api("PATCH", "billing", {"limits": {"events": 1, "storedBytes": 1, "requests": 99}})
    answer = stage.turbo.answer(stage.house.server, stage.caller, Build(), "downloadArtifact")
    assert "events, stored bytes" in answer.json()["message"]
    assert "requests" not in answer.json()["message"]


def test_a_pause_that_is_noted_down_ends_only_when_the_cap_is_raised_or_disabled(
    stage: Stage,
) -> None:
    prices = {"millionRequests": "1000000"}
    stage.api("PATCH", "billing", {"prices": prices, "spendCap": "2"})
    since = eventually(lambda: stage.api("GET", "billing")["pausedSince"])
    for change in ({"prices": {"millionRequests": 0}}, {"spendCap": "1.5"}, {"cycleDay": 7}):
        stage.api("PATCH", "billing", change)
        assert stage.send("downloadArtifact").refused == PAUSED
    assert stage.api("GET", "billing")["pausedSince"] == since
    [entry] = stage.api("GET", "audit?action=billing.pause")["entries"]
    assert entry["actorKind"] == "system"
    stage.api("PATCH", "billing", {"spendCap": "1.6"})
    assert stage.send("downloadArtifact").value == stage.kept.content


def test_a_cap_that_is_raised_to_less_than_what_was_spent_pauses_still(stage: Stage) -> None:
    prices = {"millionRequests": "1000000"}
    stage.api("PATCH", "billing", {"prices": prices, "spendCap": "1"})
    stage.api("PATCH", "billing", {"spendCap": "2"})
    assert stage.send("downloadArtifact").refused == PAUSED
    stage.api("PATCH", "billing", {"spendCap": "1000"})
    assert stage.send("downloadArtifact").refused is None
