"""What time does to a team: minutes and billing cycles pass, tokens end."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hitrate.clock import ManualClock
from tests.support.client_operations import Build, refusals
from tests.support.manual_clock_server import ClockedServer
from tests.support.server import eventually
from tests.support.team_fixture import House, Stage, house_of

OVER = (403, "remote_caching_over_limit")


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[House]:
    server = ClockedServer(tmp_path_factory.mktemp("clocked") / "data", clock)
    with house_of(server, clock) as house:
        yield house


def to_the_end_of_the_cycle(stage: Stage, clock: ManualClock) -> None:
    end = datetime.fromisoformat(stage.api("GET", "usage")["current"]["end"])
    clock.value_ms = int(end.astimezone(UTC).timestamp()) * 1000


def test_a_minutes_requests_may_come_at_once_and_the_next_waits_for_its_share(
    stage: Stage, clock: ManualClock
) -> None:
    stage.api("PATCH", "settings", {"requestsPerMinute": 3})
    for _ in range(3):
        assert stage.probe() == 200
    for wait_s, pause_s in ((20, 15), (5, 4.999)):
        answer = stage.turbo.answer(stage.house.server, stage.caller, Build(), "downloadArtifact")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, str(wait_s))
        assert stage.send("status").value == {"status": "enabled"}
        clock.advance(pause_s)
    assert stage.probe() == 429
    clock.advance(0.001)
    assert [stage.probe() for _ in range(2)] == [200, 429]
    clock.advance(60)
    assert [stage.probe() for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("measure", ["uploadedBytes", "downloadedBytes", "requests", "events"])
def test_a_new_cycle_lets_a_team_in_again_that_was_over_its_limit(
    stage: Stage, clock: ManualClock, measure: str
) -> None:
    before = stage.used()
    stage.api("PATCH", "billing", {"limits": {measure: before[measure]}})
    assert stage.send("downloadArtifact").refused == OVER
    to_the_end_of_the_cycle(stage, clock)
    clock.value_ms -= 1
    assert stage.send("downloadArtifact").refused == OVER
    clock.value_ms += 1
    assert stage.send("downloadArtifact").value == stage.kept.content
    usage = stage.api("GET", "usage")
    fresh = {"uploadedBytes": 0, "downloadedBytes": 320, "requests": 1, "events": 0}
    assert {name: usage["current"]["used"][name] for name in fresh} == fresh
    clock.advance(61)
    [past] = eventually(lambda: stage.api("GET", "usage")["past"])
    assert {name: past["used"][name] for name in before} == before


def test_what_is_stored_is_stored_in_the_next_cycle_too(stage: Stage, clock: ManualClock) -> None:
    stage.api("PATCH", "billing", {"limits": {"storedBytes": 320}})
    to_the_end_of_the_cycle(stage, clock)
    assert stage.send("downloadArtifact").refused == OVER
    assert stage.send("status").value == {"status": "over_limit"}
    stage.api("DELETE", "artifacts")
    eventually(lambda: stage.send("uploadArtifact").refused is None)


def test_a_pause_lasts_into_the_next_cycle(stage: Stage, clock: ManualClock) -> None:
    prices = {"millionRequests": 1_000_000}
    stage.api("PATCH", "billing", {"prices": prices, "spendCap": 2})

    def paused_since() -> object:
        clock.advance(2)  # what a team is told to be is remembered for so long
        return stage.api("GET", "billing")["pausedSince"]

    eventually(paused_since)
    to_the_end_of_the_cycle(stage, clock)
    assert stage.api("GET", "usage")["current"]["used"]["cost"] == "0.00"
    assert stage.send("status").value == {"status": "paused"}
    assert stage.send("downloadArtifact").refused == (403, "remote_caching_paused")
    stage.api("PATCH", "billing", {"spendCap": 2.5})
    assert stage.send("downloadArtifact").refused is None


def test_a_token_that_is_in_use_ends_at_its_time(stage: Stage, clock: ManualClock) -> None:
    stage.take_new_token(lifetime_s=60)
    assert stage.probe() == 200
    clock.advance(59.999)
    assert stage.probe() == 200
    clock.advance(0.001)
    refused = refusals(stage.turbo(stage.house.server, stage.caller, Build()))
    assert {code for _, code in refused.values()} == {"unauthorized", None}
    assert len(refused) == 7


def test_a_token_that_was_rotated_goes_on_until_the_overlap_is_over(
    stage: Stage, clock: ManualClock
) -> None:
    old = stage.token
    path = f"/v1/user/tokens/{stage.own_token.id}/rotate"
    new = stage.api("POST", path, {"overlap": "10m"}, token=old or "")["token"]
    clock.advance(599)
    for stage.token in (old, new):
        assert stage.probe() == 200
    clock.advance(1)
    assert stage.probe() == 200
    stage.token = old
    assert stage.probe() == 401
