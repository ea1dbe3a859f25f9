"""Holds the server to what the real `turbo` makes of a team whose cache is shut, release by
release: the build succeeds, its user reads why, nothing is taken, and all is well afterwards.

After each test the `harness` also checks that what the server has recorded is exactly what it
accepted on the wire.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.compat.conftest import HarnessFactory
from tests.support import turbo_harness
from tests.support.isolated_team import IsolatedTeam
from tests.support.monorepo import all_tasks
from tests.support.recording_proxy import Exchange
from tests.support.server import Server
from tests.support.turbo_harness import Build, Release, TurboHarness

PACKAGES = ("core-1", "core-2")
TASKS = {task for task in all_tasks() if task.startswith(PACKAGES)}
COUNT = len(TASKS)
FILTERS = tuple(f"--filter={package}" for package in PACKAGES)
# One upload at a time, so that the one after which they stop is the last.
FLAGS = (*FILTERS, "--cache-workers=1")
STATUS_PATH = "/v8/artifacts/status"
# More than any of their artifacts has, and less than any two: the second is the last.
ALLOWED_BYTES = 200

Refusal = tuple[int, str]
FORBIDDEN: Refusal = (403, "forbidden")
UNAUTHORIZED: Refusal = (401, "unauthorized")
RATE_LIMITED: Refusal = (429, "rate_limited")


@dataclass(frozen=True)
class State:
    """A state in which a team's cache is shut.

    `enter` and `leave` are the operator's commands; some are entered only by `use` of the cache.
    `reason` is what a release says that asks for the status, `complaint` what each one says once
    an upload was refused.
    """

    name: str
    enter: str
    leave: str
    status: str
    refusal: Refusal
    reason: str
    complaint: str
    stops_uploads: bool = True
    use: bool = False


SHUT = "failed to put to http cache: cache disabled"
UNPAID = "HTTP status client error (402 Payment Required)"
STATES = (
    State(
        name="disabled",
        enter="team set {team} --remote-caching off",
        leave="team set {team} --remote-caching on",
        status="disabled",
        refusal=(403, "remote_caching_disabled"),
        reason="Disabled for this team",
        complaint=SHUT,
    ),
    State(
        name="disabled for one person",
        enter="team change {team} {user} --remote-caching off",
        leave="team change {team} {user} --remote-caching on",
        status="disabled",
        refusal=(403, "remote_caching_disabled"),
        reason="Disabled for this team",
        complaint=SHUT,
    ),
    State(
        name="over its limit",
        enter="team limit {team} --requests 0",
        leave="team limit {team} --requests none",
        status="over_limit",
        refusal=(403, "remote_caching_over_limit"),
        reason="Usage limit exceeded",
        complaint=SHUT,
    ),
    State(
        name="paused by its spend cap",
        enter="team billing {team} --price-uploaded-gb 1000 --spend-cap 0.000001",
        use=True,
        leave="team billing {team} --spend-cap none",
        status="paused",
        refusal=(403, "remote_caching_paused"),
        reason="Spending paused",
        complaint=SHUT,
    ),
    State(
        name="payment missing",
        enter="team payment {team} missing",
        leave="team payment {team} received",
        status="disabled",
        refusal=(402, "payment_required"),
        reason="Disabled for this team",
        complaint=UNPAID,
        stops_uploads=False,
    ),
    State(
        name="blocked",
        enter="team block {team}",
        leave="team unblock {team}",
        status="disabled",
        refusal=(402, "payment_required"),
        reason="Disabled for this team",
        complaint=UNPAID,
        stops_uploads=False,
    ),
)

# Which releases ask for the status when a build starts. The others say that Remote Caching is
# enabled, whatever it is.
ASKS_FOR_STATUS = {"turbo"}

# Which releases wait after a 429, before each request but those for events, for as long as its
# `Retry-After` says, though at most 10 s. A whole build would keep these tests waiting.
WAITS_WHEN_RATE_LIMITED = {"turbo"}


@dataclass(frozen=True)
class Manner:
    """How a release takes `forbidden`: what it says, and how many uploads it tries."""

    complaint: str
    uploads: int


_TOLD_BY_SERVER = Manner("unknown status forbidden: This", COUNT)
_TOLD_BY_TURBO = Manner("Insufficient permissions to write to remote cache", COUNT)
FORBIDDEN_TO_READ = {
    "turbo-1.13": _TOLD_BY_SERVER,
    "turbo-2.0": _TOLD_BY_SERVER,
    "turbo-2.5": _TOLD_BY_TURBO,
    "turbo": Manner("disabling remote cache reads and uploads for this run", 0),
}
FORBIDDEN_TO_WRITE = FORBIDDEN_TO_READ | {
    "turbo": Manner("skipping uploads for this run (remote cache reads remain enabled)", 1),
}


@pytest.fixture
def team(shared_server: Server) -> IsolatedTeam:
    return IsolatedTeam(shared_server)


@pytest.fixture
def harness(create_harness: HarnessFactory, team: IsolatedTeam) -> Iterator[TurboHarness]:
    """A harness for a team of its own."""
    with create_harness(team.server) as harness:
        yield harness


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_build_succeeds_with_a_disabled_cache_that_stores_nothing_and_names_the_reason(
    harness: TurboHarness, team: IsolatedTeam, state: State
) -> None:
    team.command(state.enter)
    if state.use:
        team.upload_artifact()
    used = team.usage()

    shut = harness.build(*FLAGS)

    assert harness.repo.pop_executed_tasks() == TASKS
    assert _refusals(shut) == {state.refusal}
    assert _methods(shut) >= {"GET", "PUT", "POST"}
    assert len(shut.uploads) == (1 if state.stops_uploads else COUNT)
    assert team.usage() == used

    assert team.status() == state.status
    assert _status_heard(shut) == _if_asked(harness.release, state.status)
    assert _announces_unavailable(shut, state.reason) == (harness.release.alias in ASKS_FOR_STATUS)
    assert state.complaint in shut.run.stderr

    team.command(state.leave)
    _check_that_all_is_well(harness, team)


def test_build_succeeds_with_a_token_of_another_team_and_stores_nothing(
    harness: TurboHarness, team: IsolatedTeam, shared_server: Server
) -> None:
    stranger = IsolatedTeam(shared_server)
    used = team.usage()

    foreign = harness.with_token(stranger.server.token).build(*FLAGS)

    manner = FORBIDDEN_TO_READ[harness.release.alias]
    assert harness.repo.pop_executed_tasks() == TASKS
    assert _refusals(foreign) == {FORBIDDEN}
    assert _methods(foreign) >= {"GET", "POST"}
    assert len(foreign.uploads) == manner.uploads
    assert manner.complaint in foreign.run.stderr
    assert _announces_unavailable(foreign, "Authentication failed") == (
        harness.release.alias in ASKS_FOR_STATUS
    )
    assert team.usage() == used
    assert stranger.usage() == used

    _check_that_all_is_well(harness, team)


def test_viewer_build_reads_and_records_but_stores_nothing(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    team.command("team change {team} {user} --role VIEWER")

    watching = harness.build(*FLAGS)

    manner = FORBIDDEN_TO_WRITE[harness.release.alias]
    assert harness.repo.pop_executed_tasks() == TASKS
    assert {_answer(upload) for upload in watching.uploads} == {FORBIDDEN}
    assert len(watching.uploads) == manner.uploads
    assert manner.complaint in watching.run.stderr
    assert "Remote caching enabled" in watching.run.stdout
    assert _status_heard(watching) == _if_asked(harness.release, "enabled")
    assert watching.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert team.usage()["uploadedBytes"] == 0

    team.command("team change {team} {user} --role DEVELOPER")
    _check_that_all_is_well(harness, team)


def test_build_of_a_rate_limited_team_succeeds_and_stores_nothing(
    harness: TurboHarness, team: IsolatedTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.command("team set {team} --requests-per-minute 0")
    used = team.usage()

    if harness.release.alias in WAITS_WHEN_RATE_LIMITED:
        # One task, which reads nothing: after its upload there is nothing left that would wait.
        tasks = {f"{PACKAGES[0]}#build"}
        with monkeypatch.context() as patched:
            patched.setattr(turbo_harness, "TASKS", ("build",))
            limited = harness.build(FILTERS[0], "--force")
    else:
        tasks = TASKS
        limited = harness.build(*FLAGS)
        assert _methods(limited) == {"GET", "PUT", "POST"}

    assert harness.repo.pop_executed_tasks() == tasks
    assert _refusals(limited) == {RATE_LIMITED}
    assert len(limited.uploads) == len(tasks)
    assert all(0 < int(upload.response_headers["retry-after"]) <= 60 for upload in limited.uploads)
    assert "HTTP status client error (429 Too Many Requests)" in limited.run.stderr
    assert "Remote caching enabled" in limited.run.stdout
    assert _status_heard(limited) == _if_asked(harness.release, "enabled")
    assert team.usage() == used

    team.command("team set {team} --requests-per-minute none")
    _check_that_all_is_well(harness, team)


def test_uploads_stop_at_the_limit_and_earlier_artifacts_stay(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    team.command(f"team limit {{team}} --uploaded-bytes {ALLOWED_BYTES}")

    limited = harness.build(*FLAGS)

    assert harness.repo.pop_executed_tasks() == TASKS
    *stored, last = limited.uploads
    assert [upload.status for upload in stored] == [202, 202]
    assert _answer(last) == (403, "remote_caching_over_limit")
    *before, _ = sizes = [len(upload.request_body) for upload in stored]
    assert sum(before) < ALLOWED_BYTES <= sum(sizes)
    assert team.usage()["uploadedBytes"] == sum(sizes)
    assert SHUT in limited.run.stderr

    team.command("team limit {team} --uploaded-bytes none")
    _check_that_all_is_well(harness, team, stored=stored)


def test_user_demoted_during_a_build_stores_nothing_more(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    harness.proxy.before_forwarding = _at_the_second_upload(
        team, "team change {team} {user} --role VIEWER"
    )

    interrupted = harness.build(*FLAGS)

    harness.proxy.before_forwarding = None
    manner = FORBIDDEN_TO_WRITE[harness.release.alias]
    assert harness.repo.pop_executed_tasks() == TASKS
    first, *later = interrupted.uploads
    assert first.status == 202
    assert [_answer(upload) for upload in later] == [FORBIDDEN] * min(manner.uploads, COUNT - 1)
    assert manner.complaint in interrupted.run.stderr

    team.command("team change {team} {user} --role DEVELOPER")
    _check_that_all_is_well(harness, team, stored=[first])


def test_token_revoked_during_a_build_is_rejected_afterwards(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    [token] = json.loads(team.command("token list --user {user} --json"))
    harness.proxy.before_forwarding = _at_the_second_upload(team, f"token revoke {token['id']}")

    interrupted = harness.build(*FLAGS)

    harness.proxy.before_forwarding = None
    assert harness.repo.pop_executed_tasks() == TASKS
    first, *later = interrupted.uploads
    assert first.status == 202
    assert [_answer(upload) for upload in later] == [UNAUTHORIZED] * (COUNT - 1)
    assert "HTTP status client error (401 Unauthorized)" in interrupted.run.stderr

    _check_that_all_is_well(harness, team, stored=[first])


def _check_that_all_is_well(
    harness: TurboHarness, team: IsolatedTeam, *, stored: list[Exchange] | None = None
) -> None:
    """Only what was `stored` is there; a build elsewhere adds the rest, and another has it all."""
    harness = harness.with_token(team.renew_token())
    there = {_hash(upload) for upload in stored or []}

    _simulate_new_machine(harness)
    again = harness.build(*FLAGS)
    ran = harness.repo.pop_executed_tasks()
    _simulate_new_machine(harness)
    remote = harness.build(*FLAGS)

    assert set(again.durations("REMOTE")) == there
    assert len(ran) == COUNT - len(there)
    assert [upload.status for upload in again.uploads] == [202] * len(ran)
    assert "Remote caching enabled" in again.run.stdout
    assert "remote cache" not in again.run.stderr.lower()
    assert harness.repo.pop_executed_tasks() == set()
    assert remote.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}


def _simulate_new_machine(harness: TurboHarness) -> None:
    """As if on another machine, with the server that this one has filled."""
    harness.repo.delete_builds()
    harness.repo.pop_executed_tasks()


def _at_the_second_upload(team: IsolatedTeam, command: str) -> Callable[[str, str], None]:
    """Says `command` when a second upload comes, and passes it on when the command counts."""
    uploads, token = itertools.count(1), team.server.token

    def say(method: str, _path: str) -> None:
        if method == "PUT" and next(uploads) == 2:
            team.command(command)
            team.wait_until_rejected(token)

    return say


def _answer(exchange: Exchange) -> tuple[int | None, str]:
    """Status and, of a refusal, the code."""
    if exchange.status is None or exchange.status < 400:
        return exchange.status, ""
    return exchange.status, json.loads(exchange.response_body)["error"]["code"]


def _refusals(build: Build) -> set[tuple[int | None, str]]:
    """How everything was answered that a build asked for, but the status where that is told."""
    told = [(STATUS_PATH, 200)]
    return {_answer(one) for one in build.exchanges if (one.path, one.status) not in told}


def _methods(build: Build) -> set[str]:
    return {exchange.method for exchange in build.exchanges if exchange.path != STATUS_PATH}


def _status_heard(build: Build) -> list[str]:
    asked = [exchange for exchange in build.exchanges if exchange.path == STATUS_PATH]
    return [json.loads(exchange.response_body)["status"] for exchange in asked]


def _if_asked(release: Release, status: str) -> list[str]:
    return [status] if release.alias in ASKS_FOR_STATUS else []


def _announces_unavailable(build: Build, reason: str) -> bool:
    """Whether turbo says at the start that the cache is shut and why, or else that it is open."""
    unavailable = f"Remote caching unavailable ({reason}" in build.run.stderr
    assert unavailable != ("Remote caching enabled" in build.run.stdout)
    return unavailable


def _hash(exchange: Exchange) -> str:
    return exchange.path.rpartition("/")[2]
