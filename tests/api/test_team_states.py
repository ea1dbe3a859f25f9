"""Every state refuses the seven operations, as turbo and the SDK send them, with its status and
code; `status` says what it is; nothing is changed; and when the state is left all works again."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.support import node_packages
from tests.support.client_operations import Build, Outcomes, Send, VercelSdk, refusals
from tests.support.server import Server, eventually
from tests.support.team_fixture import House, Stage, house_of
from tests.support.team_state_cases import ORDER, RATE_LIMITED, STATES, WHOLE_TEAM, State, Steps

COUNTS_WITHIN_S = 5.0
"""What a command changes."""

BY_API = [state for state in STATES if state.api]
BY_COMMANDS = [state for state in STATES if state.commands]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_of(Server(tmp_path_factory.mktemp("states") / "data")) as house:
        yield house


@pytest.fixture
def stage(house: House) -> Stage:
    return house.stage()


@pytest.fixture(scope="module")
def sdk() -> VercelSdk:
    try:
        return VercelSdk(node_packages.install())
    except node_packages.UnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the real clients are missing: {error}", pytrace=False)
        pytest.skip(f"the real clients are missing: {error}")


@pytest.fixture(params=["turbo", "sdk"])
def send(request: pytest.FixtureRequest) -> Send:
    """Sends the seven operations, as one of the real clients does."""
    if request.param == "sdk":
        sdk: Send = request.getfixturevalue("sdk")
        return sdk
    house: House = request.getfixturevalue("house")
    return house.turbo


def works(stage: Stage, outcomes: Outcomes, build: Build, stored: int = 1) -> bool:
    """Whether all seven went through, and found as many artifacts to delete as `stored`."""
    assert refusals(outcomes) == {}
    values = {operation: outcome.value for operation, outcome in outcomes.items()}
    assert values["status"] == {"status": "enabled"}
    assert [url.rpartition("/")[2] for url in values["uploadArtifact"]["urls"]] == [build.hash]
    assert values["downloadArtifact"] == build.content
    assert values["artifactQuery"][build.hash]["size"] == len(build.content)
    assert values["deleteAllArtifacts"] == {"deletedCount": stored}
    assert stage.used()["storedBytes"] == 0
    return True


def play(stage: Stage, state: State, steps: Steps, send: Send, within_s: float) -> Build:
    """Enter the state and send everything; leave it and send everything again, which succeeds:
    that build is returned."""
    (enter, leave), refused, again = steps, Build(), Build()
    enter(stage)
    eventually(lambda: stage.probe() == state.status, within_s)
    before = stage.used()

    assert state.holds(send(stage.house.server, stage.caller, refused))

    assert stage.used() == before
    leave(stage)
    eventually(lambda: stage.probe() == 200, within_s)
    assert stage.send("artifactExists", refused).refused == (404, None)
    assert stage.send("downloadArtifact").value == stage.kept.content
    assert works(stage, send(stage.house.server, stage.caller, again), again, stored=2)
    return again


@pytest.mark.parametrize("state", BY_API, ids=str)
def test_a_state_entered_by_the_api_holds_at_once_until_it_is_left(
    stage: Stage, state: State, send: Send
) -> None:
    assert state.api
    play(stage, state, state.api, send, within_s=0)


@pytest.fixture(scope="module")
def played(house: House) -> Iterator[Callable[[State], "Future[None]"]]:
    """The states that are entered and left by commands, all at once: each has to wait a while."""

    def one(state: State) -> None:
        assert state.commands
        stage = house.stage()
        again = play(stage, state, state.commands, stage.turbo, COUNTS_WITHIN_S)
        # Events are loaded in the order in which they came.
        eventually(lambda: again.session in stage.recorded())
        assert stage.recorded() == {stage.kept.session, again.session}

    with ThreadPoolExecutor(8) as pool:
        futures = {state: pool.submit(one, state) for state in BY_COMMANDS}
        yield futures.__getitem__


@pytest.mark.parametrize("state", BY_COMMANDS, ids=str)
def test_a_state_entered_by_a_command_holds_within_seconds_until_it_is_left(
    played: Callable[[State], "Future[None]"], state: State
) -> None:
    played(state).result()


@pytest.mark.parametrize("state", [s for s in BY_API if s not in WHOLE_TEAM], ids=str)
def test_what_concerns_one_person_leaves_the_rest_of_the_team_alone(
    stage: Stage, state: State
) -> None:
    assert state.api
    state.api[0](stage)
    assert stage.probe() == state.status
    build = Build()
    assert works(stage, stage.turbo(stage.house.server, stage.colleague, build), build, stored=2)


@pytest.mark.parametrize("state", WHOLE_TEAM, ids=str)
def test_what_concerns_a_team_concerns_everybody_in_it_and_nobody_else(
    stage: Stage, house: House, state: State
) -> None:
    assert state.api
    state.api[0](stage)
    assert state.holds(stage.turbo(house.server, stage.colleague, Build()))
    other, build = house.stage(), Build()
    assert works(other, other.turbo(house.server, other.caller, build), build, stored=2)


@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDER)), ids=str)
def test_of_two_states_the_first_in_order_answers(
    stage: Stage, first: State, second: State
) -> None:
    assert first.api
    assert second.api
    second.api[0](stage)
    first.api[0](stage)
    for state in (first, second):
        assert state.api
        assert state.holds(stage.turbo(stage.house.server, stage.caller, Build()))
        state.api[1](stage)
    assert stage.probe() == 200


def test_all_states_at_once_show_one_after_the_other_as_each_is_left(stage: Stage) -> None:
    for state in reversed(ORDER):
        assert state.api
        state.api[0](stage)
    for state in ORDER:
        assert state.api
        assert state.holds(stage.turbo(stage.house.server, stage.caller, Build())), str(state)
        state.api[1](stage)
    build = Build()
    assert works(stage, stage.turbo(stage.house.server, stage.caller, build), build, stored=2)


def test_who_is_rate_limited_is_told_when_to_go_on(stage: Stage) -> None:
    assert RATE_LIMITED.api
    RATE_LIMITED.api[0](stage)
    answer = stage.turbo.answer(stage.house.server, stage.caller, Build(), "downloadArtifact")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
