"""Each release of the real `turbo` with a team whose cache is disabled or limited.

The build succeeds, the user sees the reason, the server stores nothing, and everything works again
afterwards. After each test the `harness` also checks that the server recorded exactly the events
that it accepted.
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
# One upload at a time, so that none follows the one after which turbo stops.
FLAGS = (*FILTERS, "--cache-workers=1")
STATUS_PATH = "/v8/artifacts/status"
# Larger than each artifact and smaller than any two, so that the second upload reaches the limit.
UPLOAD_LIMIT_BYTES = 200

Rejection = tuple[int, str]
FORBIDDEN: Rejection = (403, "forbidden")
UNAUTHORIZED: Rejection = (401, "unauthorized")
RATE_LIMITED: Rejection = (429, "rate_limited")


@dataclass(frozen=True)
class State:
    """A team state in which the cache rejects requests.

    `enter` and `leave` are commands; with `needs_usage`, the state begins at an upload. `reason`:
    message of releases that request the status. `upload_message`: message after a rejected upload.
    """

    name: str
    enter: str
    leave: str
    status: str
    rejection: Rejection
    reason: str
    upload_message: str
    stops_uploads: bool = True
    needs_usage: bool = False


CACHE_DISABLED = "failed to put to http cache: cache disabled"
PAYMENT_REQUIRED = "HTTP status client error (402 Payment Required)"
STATES = (
    State(
        name="disabled",
        enter="team set {team} --remote-caching off",
        leave="team set {team} --remote-caching on",
        status="disabled",
        rejection=(403, "remote_caching_disabled"),
        reason="Disabled for this team",
        upload_message=CACHE_DISABLED,
    ),
    State(
        name="disabled for one user",
        enter="team change {team} {user} --remote-caching off",
        leave="team change {team} {user} --remote-caching on",
        status="disabled",
        rejection=(403, "remote_caching_disabled"),
        reason="Disabled for this team",
        upload_message=CACHE_DISABLED,
    ),
    State(
        name="over its limit",
        enter="team limit {team} --requests 0",
        leave="team limit {team} --requests none",
        status="over_limit",
        rejection=(403, "remote_caching_over_limit"),
        reason="Usage limit exceeded",
        upload_message=CACHE_DISABLED,
    ),
    State(
        name="paused by the spend cap",
        enter="team billing {team} --price-uploaded-gb 1000 --spend-cap 0.000001",
        needs_usage=True,
        leave="team billing {team} --spend-cap none",
        status="paused",
        rejection=(403, "remote_caching_paused"),
        reason="Spending paused",
        upload_message=CACHE_DISABLED,
    ),
    State(
        name="payment missing",
        enter="team payment {team} missing",
        leave="team payment {team} received",
        status="disabled",
        rejection=(402, "payment_required"),
        reason="Disabled for this team",
        upload_message=PAYMENT_REQUIRED,
        stops_uploads=False,
    ),
    State(
        name="blocked",
        enter="team block {team}",
        leave="team unblock {team}",
        status="disabled",
        rejection=(402, "payment_required"),
        reason="Disabled for this team",
        upload_message=PAYMENT_REQUIRED,
        stops_uploads=False,
    ),
)

# Releases that request the status when a build starts. The others always print that Remote Caching
# is enabled.
REQUEST_STATUS = {"turbo"}

# Releases that wait after a 429 for its `Retry-After`, at most 10 s, before every request
# except those for events. A complete build would take too long for a test.
WAITS_WHEN_RATE_LIMITED = {"turbo"}


@dataclass(frozen=True)
class ForbiddenBehavior:
    """Reaction of a release to `forbidden`: its message, and the number of attempted uploads."""

    message: str
    uploads: int


_SERVER_MESSAGE = ForbiddenBehavior("unknown status forbidden: This", COUNT)
_TURBO_MESSAGE = ForbiddenBehavior("Insufficient permissions to write to remote cache", COUNT)
FORBIDDEN_TO_READ = {
    "turbo-1.13": _SERVER_MESSAGE,
    "turbo-2.0": _SERVER_MESSAGE,
    "turbo-2.5": _TURBO_MESSAGE,
    "turbo": ForbiddenBehavior("disabling remote cache reads and uploads for this run", 0),
}
FORBIDDEN_TO_WRITE = FORBIDDEN_TO_READ | {
    "turbo": ForbiddenBehavior(
        "skipping uploads for this run (remote cache reads remain enabled)", 1
    ),
}


@pytest.fixture
def team(shared_server: Server) -> IsolatedTeam:
    return IsolatedTeam(shared_server)


@pytest.fixture
def harness(create_harness: HarnessFactory, team: IsolatedTeam) -> Iterator[TurboHarness]:
    """A harness for an isolated team."""
    with create_harness(team.server) as harness:
        yield harness


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_build_succeeds_with_a_disabled_cache_that_stores_nothing_and_names_the_reason(
    harness: TurboHarness, team: IsolatedTeam, state: State
) -> None:
    team.command(state.enter)
    if state.needs_usage:
        team.upload_artifact()
    used = team.usage()

    rejected = harness.build(*FLAGS)

    assert harness.repo.pop_executed_tasks() == TASKS
    assert _rejections(rejected) == {state.rejection}
    assert _methods(rejected) >= {"GET", "PUT", "POST"}
    assert len(rejected.uploads) == (1 if state.stops_uploads else COUNT)
    assert team.usage() == used

    assert team.status() == state.status
    assert _received_statuses(rejected) == _expected_statuses(harness.release, state.status)
    assert _reports_unavailable(rejected, state.reason) == (harness.release.alias in REQUEST_STATUS)
    assert state.upload_message in rejected.run.stderr

    team.command(state.leave)
    _check_recovery(harness, team)


def test_build_succeeds_with_a_token_of_another_team_and_stores_nothing(
    harness: TurboHarness, team: IsolatedTeam, shared_server: Server
) -> None:
    other_team = IsolatedTeam(shared_server)
    used = team.usage()

    rejected = harness.with_token(other_team.server.token).build(*FLAGS)

    behavior = FORBIDDEN_TO_READ[harness.release.alias]
    assert harness.repo.pop_executed_tasks() == TASKS
    assert _rejections(rejected) == {FORBIDDEN}
    assert _methods(rejected) >= {"GET", "POST"}
    assert len(rejected.uploads) == behavior.uploads
    assert behavior.message in rejected.run.stderr
    assert _reports_unavailable(rejected, "Authentication failed") == (
        harness.release.alias in REQUEST_STATUS
    )
    assert team.usage() == used
    assert other_team.usage() == used

    _check_recovery(harness, team)


def test_viewer_build_reads_and_records_but_stores_nothing(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    team.command("team change {team} {user} --role VIEWER")

    viewer_build = harness.build(*FLAGS)

    behavior = FORBIDDEN_TO_WRITE[harness.release.alias]
    assert harness.repo.pop_executed_tasks() == TASKS
    assert {_status_and_code(upload) for upload in viewer_build.uploads} == {FORBIDDEN}
    assert len(viewer_build.uploads) == behavior.uploads
    assert behavior.message in viewer_build.run.stderr
    assert "Remote caching enabled" in viewer_build.run.stdout
    assert _received_statuses(viewer_build) == _expected_statuses(harness.release, "enabled")
    assert viewer_build.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert team.usage()["uploadedBytes"] == 0

    team.command("team change {team} {user} --role DEVELOPER")
    _check_recovery(harness, team)


def test_build_of_a_rate_limited_team_succeeds_and_stores_nothing(
    harness: TurboHarness, team: IsolatedTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.command("team set {team} --requests-per-minute 0")
    used = team.usage()

    if harness.release.alias in WAITS_WHEN_RATE_LIMITED:
        # One task that reads nothing: after its upload no request is left that would wait.
        tasks = {f"{PACKAGES[0]}#build"}
        with monkeypatch.context() as patched:
            patched.setattr(turbo_harness, "TASKS", ("build",))
            limited = harness.build(FILTERS[0], "--force")
    else:
        tasks = TASKS
        limited = harness.build(*FLAGS)
        assert _methods(limited) == {"GET", "PUT", "POST"}

    assert harness.repo.pop_executed_tasks() == tasks
    assert _rejections(limited) == {RATE_LIMITED}
    assert len(limited.uploads) == len(tasks)
    assert all(0 < int(upload.response_headers["retry-after"]) <= 60 for upload in limited.uploads)
    assert "HTTP status client error (429 Too Many Requests)" in limited.run.stderr
    assert "Remote caching enabled" in limited.run.stdout
    assert _received_statuses(limited) == _expected_statuses(harness.release, "enabled")
    assert team.usage() == used

    team.command("team set {team} --requests-per-minute none")
    _check_recovery(harness, team)


def test_uploads_stop_at_the_limit_and_earlier_artifacts_stay(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    team.command(f"team limit {{team}} --uploaded-bytes {UPLOAD_LIMIT_BYTES}")

    limited = harness.build(*FLAGS)

    assert harness.repo.pop_executed_tasks() == TASKS
    *stored, last = limited.uploads
    assert [upload.status for upload in stored] == [202, 202]
    assert _status_and_code(last) == (403, "remote_caching_over_limit")
    *before, _ = sizes = [len(upload.request_body) for upload in stored]
    assert sum(before) < UPLOAD_LIMIT_BYTES <= sum(sizes)
    assert team.usage()["uploadedBytes"] == sum(sizes)
    assert CACHE_DISABLED in limited.run.stderr

    team.command("team limit {team} --uploaded-bytes none")
    _check_recovery(harness, team, stored=stored)


def test_user_demoted_during_a_build_stores_nothing_more(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    harness.proxy.before_forwarding = _run_at_second_upload(
        team, "team change {team} {user} --role VIEWER"
    )

    interrupted = harness.build(*FLAGS)

    harness.proxy.before_forwarding = None
    behavior = FORBIDDEN_TO_WRITE[harness.release.alias]
    assert harness.repo.pop_executed_tasks() == TASKS
    first, *later = interrupted.uploads
    assert first.status == 202
    assert [_status_and_code(upload) for upload in later] == [FORBIDDEN] * min(
        behavior.uploads, COUNT - 1
    )
    assert behavior.message in interrupted.run.stderr

    team.command("team change {team} {user} --role DEVELOPER")
    _check_recovery(harness, team, stored=[first])


def test_token_revoked_during_a_build_is_rejected_afterwards(
    harness: TurboHarness, team: IsolatedTeam
) -> None:
    [token] = json.loads(team.command("token list --user {user} --json"))
    harness.proxy.before_forwarding = _run_at_second_upload(team, f"token revoke {token['id']}")

    interrupted = harness.build(*FLAGS)

    harness.proxy.before_forwarding = None
    assert harness.repo.pop_executed_tasks() == TASKS
    first, *later = interrupted.uploads
    assert first.status == 202
    assert [_status_and_code(upload) for upload in later] == [UNAUTHORIZED] * (COUNT - 1)
    assert "HTTP status client error (401 Unauthorized)" in interrupted.run.stderr

    _check_recovery(harness, team, stored=[first])


def _check_recovery(
    harness: TurboHarness, team: IsolatedTeam, *, stored: list[Exchange] | None = None
) -> None:
    """Check that only `stored` exists, that a new build uploads the rest, and the next one hits."""
    harness = harness.with_token(team.renew_token())
    stored_hashes = {upload.artifact_hash for upload in stored or []}

    harness.simulate_new_machine()
    second = harness.build(*FLAGS)
    ran = harness.repo.pop_executed_tasks()
    harness.simulate_new_machine()
    remote = harness.build(*FLAGS)

    assert set(second.durations("REMOTE")) == stored_hashes
    assert len(ran) == COUNT - len(stored_hashes)
    assert [upload.status for upload in second.uploads] == [202] * len(ran)
    assert "Remote caching enabled" in second.run.stdout
    assert "remote cache" not in second.run.stderr.lower()
    assert harness.repo.pop_executed_tasks() == set()
    assert remote.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}


def _run_at_second_upload(team: IsolatedTeam, command: str) -> Callable[[str, str], None]:
    """Return a proxy hook that runs a command before the second upload and waits for its effect."""
    uploads, token = itertools.count(1), team.server.token

    def run(method: str, _path: str) -> None:
        if method == "PUT" and next(uploads) == 2:
            team.command(command)
            team.wait_until_rejected(token)

    return run


def _status_and_code(exchange: Exchange) -> tuple[int | None, str]:
    """Return the status and the error code."""
    if exchange.status is None or exchange.status < 400:
        return exchange.status, ""
    return exchange.status, json.loads(exchange.response_body)["error"]["code"]


def _rejections(build: Build) -> set[tuple[int | None, str]]:
    """Return the distinct results of a build's requests, except successful status requests."""
    return {
        _status_and_code(one)
        for one in build.exchanges
        if (one.path, one.status) != (STATUS_PATH, 200)
    }


def _methods(build: Build) -> set[str]:
    return {exchange.method for exchange in build.exchanges if exchange.path != STATUS_PATH}


def _received_statuses(build: Build) -> list[str]:
    exchanges = [exchange for exchange in build.exchanges if exchange.path == STATUS_PATH]
    return [json.loads(exchange.response_body)["status"] for exchange in exchanges]


def _expected_statuses(release: Release, status: str) -> list[str]:
    return [status] if release.alias in REQUEST_STATUS else []


def _reports_unavailable(build: Build, reason: str) -> bool:
    """Return whether turbo reports at the start that the cache is unavailable, with the reason."""
    unavailable = f"Remote caching unavailable ({reason}" in build.run.stderr
    assert unavailable != ("Remote caching enabled" in build.run.stdout)
    return unavailable
