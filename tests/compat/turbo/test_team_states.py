"""Holds the server to what the real `turbo` makes of a team whose cache is shut, release by
release: the build succeeds, its user reads why, nothing is taken, and all is well afterwards.

After each test the `bench` also checks that what the server has recorded is exactly what it
accepted on the wire.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.compat.conftest import BenchFor
from tests.support import turbo_harness
from tests.support.isolated_team import Tenant
from tests.support.monorepo import all_tasks
from tests.support.recording_proxy import Exchange
from tests.support.server import Server
from tests.support.turbo_harness import Build, Release, Workbench

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
        enter="team change {team} {person} --remote-caching off",
        leave="team change {team} {person} --remote-caching on",
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
def tenant(shared_server: Server) -> Tenant:
    return Tenant(shared_server)


@pytest.fixture
def bench(bench_for: BenchFor, tenant: Tenant) -> Iterator[Workbench]:
    """A bench for a team of its own."""
    with bench_for(tenant.server) as bench:
        yield bench


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_shut_cache_costs_no_build_says_why_and_takes_nothing(
    bench: Workbench, tenant: Tenant, state: State
) -> None:
    tenant.operator(state.enter)
    if state.use:
        tenant.use()
    used = tenant.usage()

    shut = bench.build(*FLAGS)

    assert bench.repo.executed() == TASKS
    assert _refusals(shut) == {state.refusal}
    assert _methods(shut) >= {"GET", "PUT", "POST"}
    assert len(shut.uploads) == (1 if state.stops_uploads else COUNT)
    assert tenant.usage() == used

    assert tenant.status() == state.status
    assert _status_heard(shut) == _if_asked(bench.release, state.status)
    assert _announces_unavailable(shut, state.reason) == (bench.release.alias in ASKS_FOR_STATUS)
    assert state.complaint in shut.run.stderr

    tenant.operator(state.leave)
    _check_that_all_is_well(bench, tenant)


def test_a_token_of_another_team_costs_no_build_and_takes_nothing(
    bench: Workbench, tenant: Tenant, shared_server: Server
) -> None:
    stranger = Tenant(shared_server)
    used = tenant.usage()

    foreign = bench.with_token(stranger.server.token).build(*FLAGS)

    manner = FORBIDDEN_TO_READ[bench.release.alias]
    assert bench.repo.executed() == TASKS
    assert _refusals(foreign) == {FORBIDDEN}
    assert _methods(foreign) >= {"GET", "POST"}
    assert len(foreign.uploads) == manner.uploads
    assert manner.complaint in foreign.run.stderr
    assert _announces_unavailable(foreign, "Authentication failed") == (
        bench.release.alias in ASKS_FOR_STATUS
    )
    assert tenant.usage() == used
    assert stranger.usage() == used

    _check_that_all_is_well(bench, tenant)


def test_a_viewer_builds_reads_and_records_but_stores_nothing(
    bench: Workbench, tenant: Tenant
) -> None:
    tenant.operator("team change {team} {person} --role VIEWER")

    watching = bench.build(*FLAGS)

    manner = FORBIDDEN_TO_WRITE[bench.release.alias]
    assert bench.repo.executed() == TASKS
    assert {_answer(upload) for upload in watching.uploads} == {FORBIDDEN}
    assert len(watching.uploads) == manner.uploads
    assert manner.complaint in watching.run.stderr
    assert "Remote caching enabled" in watching.run.stdout
    assert _status_heard(watching) == _if_asked(bench.release, "enabled")
    assert watching.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert tenant.usage()["uploadedBytes"] == 0

    tenant.operator("team change {team} {person} --role DEVELOPER")
    _check_that_all_is_well(bench, tenant)


def test_a_rate_limited_team_builds_and_stores_nothing(
    bench: Workbench, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant.operator("team set {team} --requests-per-minute 0")
    used = tenant.usage()

    if bench.release.alias in WAITS_WHEN_RATE_LIMITED:
        # One task, which reads nothing: after its upload there is nothing left that would wait.
        tasks = {f"{PACKAGES[0]}#build"}
        with monkeypatch.context() as patched:
            patched.setattr(turbo_harness, "TASKS", ("build",))
            limited = bench.build(FILTERS[0], "--force")
    else:
        tasks = TASKS
        limited = bench.build(*FLAGS)
        assert _methods(limited) == {"GET", "PUT", "POST"}

    assert bench.repo.executed() == tasks
    assert _refusals(limited) == {RATE_LIMITED}
    assert len(limited.uploads) == len(tasks)
    assert all(0 < int(upload.response_headers["retry-after"]) <= 60 for upload in limited.uploads)
    assert "HTTP status client error (429 Too Many Requests)" in limited.run.stderr
    assert "Remote caching enabled" in limited.run.stdout
    assert _status_heard(limited) == _if_asked(bench.release, "enabled")
    assert tenant.usage() == used

    tenant.operator("team set {team} --requests-per-minute none")
    _check_that_all_is_well(bench, tenant)


def test_what_a_build_stored_before_it_reached_a_limit_is_there_and_uploads_stop(
    bench: Workbench, tenant: Tenant
) -> None:
    tenant.operator(f"team limit {{team}} --uploaded-bytes {ALLOWED_BYTES}")

    limited = bench.build(*FLAGS)

    assert bench.repo.executed() == TASKS
    *stored, last = limited.uploads
    assert [upload.status for upload in stored] == [202, 202]
    assert _answer(last) == (403, "remote_caching_over_limit")
    *before, _ = sizes = [len(upload.request_body) for upload in stored]
    assert sum(before) < ALLOWED_BYTES <= sum(sizes)
    assert tenant.usage()["uploadedBytes"] == sum(sizes)
    assert SHUT in limited.run.stderr

    tenant.operator("team limit {team} --uploaded-bytes none")
    _check_that_all_is_well(bench, tenant, stored=stored)


def test_a_person_demoted_during_a_build_stores_nothing_more(
    bench: Workbench, tenant: Tenant
) -> None:
    bench.proxy.before_forwarding = _at_the_second_upload(
        tenant, "team change {team} {person} --role VIEWER"
    )

    interrupted = bench.build(*FLAGS)

    bench.proxy.before_forwarding = None
    manner = FORBIDDEN_TO_WRITE[bench.release.alias]
    assert bench.repo.executed() == TASKS
    first, *later = interrupted.uploads
    assert first.status == 202
    assert [_answer(upload) for upload in later] == [FORBIDDEN] * min(manner.uploads, COUNT - 1)
    assert manner.complaint in interrupted.run.stderr

    tenant.operator("team change {team} {person} --role DEVELOPER")
    _check_that_all_is_well(bench, tenant, stored=[first])


def test_a_token_revoked_during_a_build_is_good_for_nothing_more(
    bench: Workbench, tenant: Tenant
) -> None:
    [token] = json.loads(tenant.operator("token list --user {person} --json"))
    bench.proxy.before_forwarding = _at_the_second_upload(tenant, f"token revoke {token['id']}")

    interrupted = bench.build(*FLAGS)

    bench.proxy.before_forwarding = None
    assert bench.repo.executed() == TASKS
    first, *later = interrupted.uploads
    assert first.status == 202
    assert [_answer(upload) for upload in later] == [UNAUTHORIZED] * (COUNT - 1)
    assert "HTTP status client error (401 Unauthorized)" in interrupted.run.stderr

    _check_that_all_is_well(bench, tenant, stored=[first])


def _check_that_all_is_well(
    bench: Workbench, tenant: Tenant, *, stored: list[Exchange] | None = None
) -> None:
    """Only what was `stored` is there; a build elsewhere adds the rest, and another has it all."""
    bench = bench.with_token(tenant.renew_token())
    there = {_hash(upload) for upload in stored or []}

    _start_afresh(bench)
    again = bench.build(*FLAGS)
    ran = bench.repo.executed()
    _start_afresh(bench)
    remote = bench.build(*FLAGS)

    assert set(again.durations("REMOTE")) == there
    assert len(ran) == COUNT - len(there)
    assert [upload.status for upload in again.uploads] == [202] * len(ran)
    assert "Remote caching enabled" in again.run.stdout
    assert "remote cache" not in again.run.stderr.lower()
    assert bench.repo.executed() == set()
    assert remote.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}


def _start_afresh(bench: Workbench) -> None:
    """As if on another machine, with the server that this one has filled."""
    bench.repo.forget_builds()
    bench.repo.executed()


def _at_the_second_upload(tenant: Tenant, command: str) -> Callable[[str, str], None]:
    """Says `command` when a second upload comes, and passes it on when the command counts."""
    uploads, token = itertools.count(1), tenant.server.token

    def say(method: str, _path: str) -> None:
        if method == "PUT" and next(uploads) == 2:
            tenant.operator(command)
            tenant.await_refusal(token)

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
