"""Team states over HTTP: each refuses the seven artifact operations until it is left.

The operations are sent as turbo and @vercel/sdk send them. A state has its status and error code,
`status` reports it, and refused requests change nothing.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.support import node_packages
from tests.support.client_operations import Outcomes, SampleBuild, Send, VercelSdk, errors_of
from tests.support.server import Server, eventually
from tests.support.team_fixture import TeamFixture, TeamServer, run_team_server
from tests.support.team_state_cases import (
    ALL_STATES,
    PRECEDENCE,
    RATE_LIMITED,
    TEAM_STATES,
    StateCase,
    Steps,
)

COMMAND_TIMEOUT_S = 5.0
"""Within this time the server applies what a command changed."""

API_STATES = [state for state in ALL_STATES if state.api]
COMMAND_STATES = [state for state in ALL_STATES if state.commands]


@pytest.fixture(scope="module")
def team_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    with run_team_server(Server(tmp_path_factory.mktemp("states") / "data")) as team_server:
        yield team_server


@pytest.fixture
def team(team_server: TeamServer) -> TeamFixture:
    return team_server.create_team()


@pytest.fixture(scope="module")
def sdk() -> VercelSdk:
    try:
        return VercelSdk(node_packages.install())
    except node_packages.NodeUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the real clients are missing: {error}", pytrace=False)
        pytest.skip(f"the real clients are missing: {error}")


@pytest.fixture(params=["turbo", "sdk"])
def send(request: pytest.FixtureRequest) -> Send:
    """Send the seven operations as one of the real clients does."""
    if request.param == "sdk":
        sdk: Send = request.getfixturevalue("sdk")
        return sdk
    team_server: TeamServer = request.getfixturevalue("team_server")
    return team_server.turbo


def assert_all_succeeded(
    team: TeamFixture, outcomes: Outcomes, build: SampleBuild, stored_artifacts: int = 1
) -> None:
    """Check that all seven operations succeeded and deleted `stored_artifacts` artifacts."""
    assert errors_of(outcomes) == {}
    values = {operation: outcome.value for operation, outcome in outcomes.items()}
    assert values["status"] == {"status": "enabled"}
    assert [url.rpartition("/")[2] for url in values["uploadArtifact"]["urls"]] == [build.hash]
    assert values["downloadArtifact"] == build.content
    assert values["artifactQuery"][build.hash]["size"] == len(build.content)
    assert values["deleteAllArtifacts"] == {"deletedCount": stored_artifacts}
    assert team.usage()["storedBytes"] == 0


def enter_and_leave(
    team: TeamFixture, state: StateCase, steps: Steps, send: Send, timeout_s: float
) -> SampleBuild:
    """Check that operations are refused in a state and succeed once it is left.

    Returns the build that was sent after leaving.
    """
    (enter, leave), refused_build, later_build = steps, SampleBuild(), SampleBuild()
    enter(team)
    eventually(lambda: team.probe() == state.status, timeout_s)
    before = team.usage()

    state.assert_refused(send(team.server, team.caller, refused_build))

    assert team.usage() == before
    leave(team)
    eventually(lambda: team.probe() == 200, timeout_s)
    assert team.send("artifactExists", refused_build).error == (404, None)
    assert team.send("downloadArtifact").value == team.stored_build.content
    outcomes = send(team.server, team.caller, later_build)
    assert_all_succeeded(team, outcomes, later_build, stored_artifacts=2)
    return later_build


@pytest.mark.parametrize("state", API_STATES, ids=str)
def test_state_entered_by_api_applies_immediately_until_left(
    team: TeamFixture, state: StateCase, send: Send
) -> None:
    assert state.api
    enter_and_leave(team, state, state.api, send, timeout_s=0)


@pytest.fixture(scope="module")
def run_state(team_server: TeamServer) -> Iterator[Callable[[StateCase], "Future[None]"]]:
    """Run all states that commands enter, concurrently, because each waits for the server."""

    def run(state: StateCase) -> None:
        assert state.commands
        team = team_server.create_team()
        later_build = enter_and_leave(team, state, state.commands, team.turbo, COMMAND_TIMEOUT_S)
        # Events are loaded in the order in which they arrived.
        eventually(lambda: later_build.session in team.recorded_sessions())
        assert team.recorded_sessions() == {team.stored_build.session, later_build.session}

    with ThreadPoolExecutor(8) as pool:
        futures = {state: pool.submit(run, state) for state in COMMAND_STATES}
        yield futures.__getitem__


@pytest.mark.parametrize("state", COMMAND_STATES, ids=str)
def test_state_entered_by_command_applies_within_seconds_until_left(
    run_state: Callable[[StateCase], "Future[None]"], state: StateCase
) -> None:
    run_state(state).result()


@pytest.mark.parametrize("state", [s for s in API_STATES if s not in TEAM_STATES], ids=str)
def test_state_of_one_user_does_not_affect_other_members(
    team: TeamFixture, state: StateCase
) -> None:
    assert state.api
    state.api[0](team)
    assert team.probe() == state.status
    build = SampleBuild()
    outcomes = team.turbo(team.server, team.colleague, build)
    assert_all_succeeded(team, outcomes, build, stored_artifacts=2)


@pytest.mark.parametrize("state", TEAM_STATES, ids=str)
def test_state_of_a_team_affects_all_members_and_no_other_team(
    team: TeamFixture, team_server: TeamServer, state: StateCase
) -> None:
    assert state.api
    state.api[0](team)
    state.assert_refused(team.turbo(team.server, team.colleague, SampleBuild()))
    other, build = team_server.create_team(), SampleBuild()
    outcomes = other.turbo(other.server, other.caller, build)
    assert_all_succeeded(other, outcomes, build, stored_artifacts=2)


@pytest.mark.parametrize(("first", "second"), list(pairwise(PRECEDENCE)), ids=str)
def test_first_of_two_states_by_precedence_is_reported(
    team: TeamFixture, first: StateCase, second: StateCase
) -> None:
    assert first.api
    assert second.api
    second.api[0](team)
    first.api[0](team)
    for state in (first, second):
        assert state.api
        state.assert_refused(team.turbo(team.server, team.caller, SampleBuild()))
        state.api[1](team)
    assert team.probe() == 200


def test_combined_states_are_reported_in_order_as_each_is_left(team: TeamFixture) -> None:
    for state in reversed(PRECEDENCE):
        assert state.api
        state.api[0](team)
    for state in PRECEDENCE:
        assert state.api
        state.assert_refused(team.turbo(team.server, team.caller, SampleBuild()))
        state.api[1](team)
    build = SampleBuild()
    outcomes = team.turbo(team.server, team.caller, build)
    assert_all_succeeded(team, outcomes, build, stored_artifacts=2)


def test_rate_limited_response_has_retry_after(team: TeamFixture) -> None:
    assert RATE_LIMITED.api
    RATE_LIMITED.api[0](team)
    response = team.turbo.request(team.server, team.caller, SampleBuild(), "downloadArtifact")
    assert 1 <= int(response.headers["retry-after"]) <= 60
