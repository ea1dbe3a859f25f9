"""Effects of time over HTTP, with a manual clock: rate limits, billing cycles, token expiry."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hitrate.clock import ManualClock
from tests.support.client_operations import SampleBuild, errors_of
from tests.support.manual_clock_server import ManualClockServer
from tests.support.server import eventually
from tests.support.team_fixture import TeamFixture, TeamServer, run_team_server

OVER = (403, "remote_caching_over_limit")


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def team_server(
    tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> Iterator[TeamServer]:
    server = ManualClockServer(tmp_path_factory.mktemp("clocked") / "data", clock)
    with run_team_server(server, clock) as team_server:
        yield team_server


def advance_to_cycle_end(team: TeamFixture, clock: ManualClock) -> None:
    end = datetime.fromisoformat(team.api("GET", "usage")["current"]["end"])
    clock.value_ms = int(end.astimezone(UTC).timestamp()) * 1000


def test_rate_limit_allows_a_burst_then_one_request_per_interval(
    team: TeamFixture, clock: ManualClock
) -> None:
    team.api("PATCH", "settings", {"requestsPerMinute": 3})
    for _ in range(3):
        assert team.probe() == 200
    for wait_s, advance_s in ((20, 15), (5, 4.999)):
        response = team.turbo.request(team.server, team.caller, SampleBuild(), "downloadArtifact")
        assert (response.status_code, response.headers["retry-after"]) == (429, str(wait_s))
        assert team.send("status").value == {"status": "enabled"}
        clock.advance(advance_s)
    assert team.probe() == 429
    clock.advance(0.001)
    assert [team.probe() for _ in range(2)] == [200, 429]
    clock.advance(60)
    assert [team.probe() for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("measure", ["uploadedBytes", "downloadedBytes", "requests", "events"])
def test_new_cycle_admits_a_team_that_was_over_a_limit(
    team: TeamFixture, clock: ManualClock, measure: str
) -> None:
    before = team.usage()
    team.api("PATCH", "billing", {"limits": {measure: before[measure]}})
    assert team.send("downloadArtifact").error == OVER
    advance_to_cycle_end(team, clock)
    clock.value_ms -= 1
    assert team.send("downloadArtifact").error == OVER
    clock.value_ms += 1
    assert team.send("downloadArtifact").value == team.stored_build.content
    usage = team.api("GET", "usage")
    expected = {"uploadedBytes": 0, "downloadedBytes": 320, "requests": 1, "events": 0}
    assert {name: usage["current"]["used"][name] for name in expected} == expected
    clock.advance(61)
    [past_cycle] = eventually(lambda: team.api("GET", "usage")["past"])
    assert {name: past_cycle["used"][name] for name in before} == before


def test_stored_bytes_limit_still_applies_in_the_next_cycle(
    team: TeamFixture, clock: ManualClock
) -> None:
    team.api("PATCH", "billing", {"limits": {"storedBytes": 320}})
    advance_to_cycle_end(team, clock)
    assert team.send("downloadArtifact").error == OVER
    assert team.send("status").value == {"status": "over_limit"}
    team.api("DELETE", "artifacts")
    eventually(lambda: team.send("uploadArtifact").error is None)


def test_pause_continues_in_the_next_cycle(team: TeamFixture, clock: ManualClock) -> None:
    prices = {"millionRequests": 1_000_000}
    team.api("PATCH", "billing", {"prices": prices, "spendCap": 2})

    def paused_since() -> object:
        clock.advance(2)  # authorized teams are cached for this long
        return team.api("GET", "billing")["pausedSince"]

    eventually(paused_since)
    advance_to_cycle_end(team, clock)
    assert team.api("GET", "usage")["current"]["used"]["cost"] == "0.00"
    assert team.send("status").value == {"status": "paused"}
    assert team.send("downloadArtifact").error == (403, "remote_caching_paused")
    team.api("PATCH", "billing", {"spendCap": 2.5})
    assert team.send("downloadArtifact").error is None


def test_token_in_use_expires_on_time(team: TeamFixture, clock: ManualClock) -> None:
    team.replace_token(lifetime_s=60)
    assert team.probe() == 200
    clock.advance(59.999)
    assert team.probe() == 200
    clock.advance(0.001)
    refused = errors_of(team.turbo(team.server, team.caller, SampleBuild()))
    assert {code for _, code in refused.values()} == {"unauthorized", None}
    assert len(refused) == 7


def test_rotated_token_is_valid_until_the_overlap_ends(
    team: TeamFixture, clock: ManualClock
) -> None:
    old_secret = team.token
    path = f"/v1/user/tokens/{team.own_token.id}/rotate"
    new_secret = team.api("POST", path, {"overlap": "10m"}, token=old_secret or "")["token"]
    clock.advance(599)
    for team.token in (old_secret, new_secret):
        assert team.probe() == 200
    clock.advance(1)
    assert team.probe() == 200
    team.token = old_secret
    assert team.probe() == 401
