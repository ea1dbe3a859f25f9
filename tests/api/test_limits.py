"""Usage limits over HTTP: a request in progress finishes; the next one is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client_operations import SampleBuild
from tests.support.server import eventually
from tests.support.team_fixture import TeamFixture

OVER = (403, "remote_caching_over_limit")
PAUSED = (403, "remote_caching_paused")


def set_limit(team: TeamFixture, measure: str, remaining: int) -> None:
    """Limit a measure to the current usage plus `remaining`."""
    team.api("PATCH", "billing", {"limits": {measure: team.usage()[measure] + remaining}})


@pytest.mark.parametrize("measure", ["uploadedBytes", "storedBytes"])
def test_upload_that_exceeds_a_limit_is_stored_and_the_next_is_refused(
    team: TeamFixture, measure: str
) -> None:
    set_limit(team, measure, 1)
    exceeding, next_build = SampleBuild(), SampleBuild()
    assert team.send("uploadArtifact", exceeding).error is None
    assert team.send("uploadArtifact", next_build).error == OVER
    team.api("PATCH", "billing", {"limits": {measure: None}})
    assert team.send("downloadArtifact", exceeding).value == exceeding.content
    assert team.send("downloadArtifact", next_build).error == (404, "not_found")


def test_download_that_exceeds_a_limit_is_complete_and_the_next_is_refused(
    team: TeamFixture,
) -> None:
    set_limit(team, "downloadedBytes", 1)
    assert team.send("downloadArtifact").value == team.stored_build.content
    assert team.send("downloadArtifact").error == OVER
    assert team.send("uploadArtifact").error == OVER


def test_batch_that_exceeds_a_limit_is_recorded_and_the_next_is_refused(team: TeamFixture) -> None:
    set_limit(team, "events", 1)
    exceeding, next_build, after = SampleBuild(), SampleBuild(), SampleBuild()
    assert team.send("recordEvents", exceeding).error is None
    assert team.send("recordEvents", next_build).error == OVER
    team.api("PATCH", "billing", {"limits": {"events": None}})
    team.send("recordEvents", after)
    eventually(lambda: after.session in team.recorded_sessions())
    assert team.recorded_sessions() == {
        build.session for build in (team.stored_build, exceeding, after)
    }


def test_request_limit_counts_misses_but_not_status(team: TeamFixture) -> None:
    set_limit(team, "requests", 3)
    assert team.probe() == 200
    assert team.send("status").value == {"status": "enabled"}
    assert team.send("downloadArtifact", SampleBuild()).error == (404, "not_found")
    assert team.probe() == 200
    assert team.probe() == 403
    assert team.send("status").value == {"status": "over_limit"}


@pytest.mark.parametrize(
    ("path", "change", "refused"),
    [
        ("billing", {"limits": {"requests": 0}}, OVER),
        ("billing", {"spendCap": 0}, PAUSED),
        ("settings", {"remoteCaching": False}, (403, "remote_caching_disabled")),
        ("settings", {"requestsPerMinute": 0}, (429, "rate_limited")),
    ],
)
def test_upload_in_progress_is_stored_when_the_team_is_blocked_meanwhile(
    team: TeamFixture, path: str, change: dict[str, Any], refused: tuple[int, str]
) -> None:
    before = team.api("GET", path)

    def chunks() -> Iterator[bytes]:
        yield b"first, "
        team.api("PATCH", path, change)
        yield b"then"

    server = team.server
    response = server.request(
        "PUT",
        "/v8/artifacts/in-progress",
        content=chunks(),
        token=team.token,
        params=team.team_query,
    )
    assert response.status_code == 202
    assert team.send("downloadArtifact").error == refused
    restored = {name: before[name] for name in change} if "limits" not in change else {}
    team.api("PATCH", path, restored or {"limits": {"requests": None}})
    response = server.request("GET", "/v8/artifacts/in-progress", token=team.token)
    assert response.content == b"first, then"


def test_team_over_the_stored_bytes_limit_can_delete_its_artifacts(team: TeamFixture) -> None:
    set_limit(team, "storedBytes", 0)
    assert team.send("deleteAllArtifacts").error == OVER
    assert team.api("DELETE", "artifacts") == {"deletedCount": 1}
    eventually(lambda: team.send("uploadArtifact").error is None, seconds=5)


def test_over_limit_message_names_the_measures_that_are_reached(team: TeamFixture) -> None:
    team.api("PATCH", "billing", {"limits": {"events": 1, "storedBytes": 1, "requests": 99}})
    response = team.turbo.request(team.server, team.caller, SampleBuild(), "downloadArtifact")
    assert "events, stored bytes" in response.json()["message"]
    assert "requests" not in response.json()["message"]


def test_recorded_pause_ends_only_when_the_spend_cap_is_raised_or_removed(
    team: TeamFixture,
) -> None:
    prices = {"millionRequests": "1000000"}
    team.api("PATCH", "billing", {"prices": prices, "spendCap": "2"})
    paused_since = eventually(lambda: team.api("GET", "billing")["pausedSince"])
    for change in ({"prices": {"millionRequests": 0}}, {"spendCap": "1.5"}, {"cycleDay": 7}):
        team.api("PATCH", "billing", change)
        assert team.send("downloadArtifact").error == PAUSED
    assert team.api("GET", "billing")["pausedSince"] == paused_since
    [entry] = team.api("GET", "audit?action=billing.pause")["entries"]
    assert entry["actorKind"] == "system"
    team.api("PATCH", "billing", {"spendCap": "1.6"})
    assert team.send("downloadArtifact").value == team.stored_build.content


def test_spend_cap_raised_below_the_cost_so_far_keeps_the_pause(team: TeamFixture) -> None:
    prices = {"millionRequests": "1000000"}
    team.api("PATCH", "billing", {"prices": prices, "spendCap": "1"})
    team.api("PATCH", "billing", {"spendCap": "2"})
    assert team.send("downloadArtifact").error == PAUSED
    team.api("PATCH", "billing", {"spendCap": "1000"})
    assert team.send("downloadArtifact").error is None
