"""The server's reports of runs of the real `turbo` agree with its events and with its own summary.

They differ if events cannot arrive, or if the server has more information than turbo; those tests
say so. After each test the `harness` also checks that the server recorded exactly the events that
it accepted.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compat.conftest import HarnessFactory
from tests.support.header_stripping_proxy import HeaderStrippingProxy
from tests.support.isolated_team import IsolatedTeam
from tests.support.monorepo import TASKS, all_tasks
from tests.support.run_counts import (
    RunCounts,
    artifact_producers,
    artifact_traffic,
    build_with_summary,
    check_counts,
    counts_by_session,
    counts_from_events,
    counts_from_server,
    local_cache_durations,
    sum_counts,
    team_counts_from_server,
)
from tests.support.server import Server, eventually
from tests.support.turbo_harness import RELEASES, TurboHarness

COUNT = len(all_tasks())
COLD = RunCounts(tasks=COUNT, misses=COUNT)
SIGNATURE_KEY = "a signature key, at least 32 bytes long"
OTHER_SIGNATURE_KEY = "another signature key, of 32 bytes or more"

# Option of older releases to use only the remote cache. They cannot use only the local one.
REMOTE_ONLY = {"turbo-1.13": "--remote-only", "turbo-2.0": "--remote-only"}
RELEASES_WITH_LOCAL_ONLY = [one for one in RELEASES if one.alias not in REMOTE_ONLY]

NEWEST = pytest.mark.parametrize(
    "release", [RELEASES[-1]], indirect=True, ids=lambda one: one.alias
)


@pytest.fixture
def team(shared_server: Server) -> IsolatedTeam:
    return IsolatedTeam(shared_server)


@pytest.fixture
def harness(create_harness: HarnessFactory, team: IsolatedTeam) -> Iterator[TurboHarness]:
    """A harness for a team without other runs."""
    with create_harness(team.server) as harness:
        yield harness


def test_cold_run_counts_only_misses(harness: TurboHarness) -> None:
    cold = build_with_summary(harness)

    check_counts(harness, cold, COLD)
    assert team_counts_from_server(harness.server) == COLD
    sizes = [len(upload.request_body) for upload in cold.uploads]
    assert artifact_traffic(harness.server) == {
        "uploads": COUNT,
        "uploadedBytes": sum(sizes),
        "downloads": 0,
        "downloadedBytes": 0,
        "stored": COUNT,
        "storedBytes": sum(sizes),
    }


def test_run_on_another_machine_counts_remote_hits_saving_the_cold_run_time(
    harness: TurboHarness,
) -> None:
    cold = build_with_summary(harness)
    cold_ms = sum(local_cache_durations(harness.repo).values())
    assert cold_ms == sum(cold.uploaded_durations().values()) > 0
    harness.simulate_new_machine()

    remote = build_with_summary(harness)

    check_counts(harness, remote, RunCounts(tasks=COUNT, remote_hits=COUNT, remote_ms=cold_ms))
    sizes = [len(download.response_body) for download in remote.downloads]
    assert artifact_traffic(harness.server)["downloads"] == COUNT
    assert artifact_traffic(harness.server)["downloadedBytes"] == sum(sizes)


def test_repeated_run_counts_local_hits_saving_the_cold_run_time(harness: TurboHarness) -> None:
    build_with_summary(harness)
    cold_ms = sum(local_cache_durations(harness.repo).values())

    repeated = build_with_summary(harness)

    check_counts(harness, repeated, RunCounts(tasks=COUNT, local_hits=COUNT, local_ms=cold_ms))


@NEWEST
def test_mixed_run_counts_local_hits_remote_hits_and_misses(harness: TurboHarness) -> None:
    build_with_summary(harness)
    cold_ms = local_cache_durations(harness.repo)
    harness.simulate_new_machine()
    build_with_summary(harness, "--filter=core-0", "--filter=core-1")
    local_ms = local_cache_durations(harness.repo)
    harness.repo.edit("app-1")

    mixed = build_with_summary(harness)

    local, missed = 2 * len(TASKS["core"]), len(TASKS["app"])
    assert len(harness.repo.pop_executed_tasks()) == missed
    remote_ms = {name: cold_ms[name] for name in mixed.durations("REMOTE")}
    assert len(local_ms) == local
    check_counts(
        harness,
        mixed,
        RunCounts(
            tasks=COUNT,
            local_hits=local,
            remote_hits=COUNT - local - missed,
            misses=missed,
            local_ms=sum(local_ms.values()),
            remote_ms=sum(remote_ms.values()),
        ),
    )


@NEWEST
def test_invalid_signature_counts_as_a_miss(harness: TurboHarness) -> None:
    harness.repo.configure_remote_cache(signature=True)
    build_with_summary(harness, TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    harness.simulate_new_machine()

    with_other_key = build_with_summary(
        harness, TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY
    )

    assert len(with_other_key.downloads) == COUNT
    check_counts(harness, with_other_key, COLD)


@NEWEST
def test_runs_are_summed_and_listed_newest_first(harness: TurboHarness) -> None:
    builds = [build_with_summary(harness), build_with_summary(harness)]
    harness.simulate_new_machine()
    builds += [build_with_summary(harness), build_with_summary(harness)]

    expected = {one.session: counts_from_events(one.events) for one in reversed(builds)}

    hits = [one.local_hits + one.remote_hits for one in expected.values()]
    assert hits == [COUNT, COUNT, COUNT, 0]
    assert list(counts_by_session(harness.server).items()) == list(expected.items())
    assert team_counts_from_server(harness.server) == sum_counts(expected.values())


@NEWEST
def test_artifact_is_attributed_to_the_run_that_uploaded_it(harness: TurboHarness) -> None:
    cold = build_with_summary(harness)
    harness.simulate_new_machine()
    build_with_summary(harness)
    harness.repo.edit("core-0")
    changed = build_with_summary(harness)

    producers = dict.fromkeys(cold.uploaded_durations(), cold.session)
    producers |= dict.fromkeys(changed.uploaded_durations(), changed.session)

    assert len(producers) > COUNT
    eventually(lambda: artifact_producers(harness.server) == producers)


@NEWEST
def test_forced_run_is_not_counted_but_its_uploads_are(harness: TurboHarness) -> None:
    build_with_summary(harness)
    harness.simulate_new_machine()

    forced = build_with_summary(harness, "--force")

    # It sends no events, so the server has no run, although turbo reports one with 56 tasks. The
    # artifacts were stored.
    assert forced.events == []
    assert forced.turbo_counts == COLD
    assert team_counts_from_server(harness.server) == COLD
    assert len(counts_by_session(harness.server)) == 1
    assert artifact_traffic(harness.server)["uploads"] == 2 * COUNT
    assert artifact_traffic(harness.server)["stored"] == COUNT


@NEWEST
def test_dry_run_is_not_counted(harness: TurboHarness) -> None:
    build_with_summary(harness)
    harness.simulate_new_machine()
    before = artifact_traffic(harness.server)

    dry = harness.build("--dry=json")

    assert dry.events == []
    assert team_counts_from_server(harness.server) == COLD
    assert len(counts_by_session(harness.server)) == 1
    assert artifact_traffic(harness.server) == before


@pytest.mark.parametrize(
    "release", RELEASES_WITH_LOCAL_ONLY, indirect=True, ids=lambda one: one.alias
)
def test_runs_with_only_the_local_cache_are_counted(harness: TurboHarness) -> None:
    cold = build_with_summary(harness, "--cache=local:rw")
    cold_ms = sum(local_cache_durations(harness.repo).values())
    repeated = build_with_summary(harness, "--cache=local:rw")

    assert cold.event_counts() == {("LOCAL", "MISS"): COUNT}
    check_counts(harness, cold, COLD)
    check_counts(harness, repeated, RunCounts(tasks=COUNT, local_hits=COUNT, local_ms=cold_ms))
    assert not any(artifact_traffic(harness.server).values())


@NEWEST
def test_runs_with_only_the_remote_cache_count_remote_hits_each_time(harness: TurboHarness) -> None:
    flag = REMOTE_ONLY.get(harness.release.alias, "--cache=remote:rw")
    cold = build_with_summary(harness, flag)
    cold_ms = sum(cold.uploaded_durations().values())
    repeated = build_with_summary(harness, flag)

    assert repeated.event_counts() == {("REMOTE", "HIT"): COUNT}
    check_counts(harness, cold, COLD)
    check_counts(harness, repeated, RunCounts(tasks=COUNT, remote_hits=COUNT, remote_ms=cold_ms))


def test_remote_hit_without_a_duration_saves_the_duration_of_its_artifact(
    harness: TurboHarness,
) -> None:
    cold = build_with_summary(harness)
    cold_ms = sum(cold.uploaded_durations().values())
    harness.simulate_new_machine()
    with HeaderStrippingProxy(harness.server.url) as stripping_proxy:
        harness.proxy.upstream = stripping_proxy.url

        remote = build_with_summary(harness)

        eventually(lambda: stripping_proxy.connections == 0)
    # turbo itself reports that it saved nothing.
    assert set(remote.durations("REMOTE").values()) == {0}
    assert remote.turbo_counts == RunCounts(tasks=COUNT, remote_hits=COUNT)
    assert counts_from_server(harness.server, remote.session) == RunCounts(
        tasks=COUNT, remote_hits=COUNT, remote_ms=cold_ms
    )
