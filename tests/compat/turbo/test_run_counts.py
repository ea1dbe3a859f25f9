"""Holds the server's reports to the truth: what they say of runs of the real `turbo`, release by
release, is what was counted by hand, and what turbo's own summary says.

They differ where events cannot have arrived, or where the server knows more than the client; those
tests say so. After each test the `bench` also checks that what the server has recorded is exactly
what it accepted on the wire.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.compat.conftest import BenchFor
from tests.support.header_stripping_proxy import ForgetfulProxy
from tests.support.isolated_team import Tenant
from tests.support.monorepo import TASKS, all_tasks
from tests.support.run_counts import (
    NOTHING,
    CountedBuild,
    Numbers,
    build,
    durations_in_cache,
    events_say,
    makers,
    moved,
    runs_listed,
    server_says,
    server_says_of_all,
    total,
)
from tests.support.server import Server, eventually
from tests.support.turbo_harness import RELEASES, Workbench, accepted_events

COUNT = len(all_tasks())
COLD = Numbers(tasks=COUNT, misses=COUNT)
SIGNATURE_KEY = "a signature key, at least 32 bytes long"
OTHER_SIGNATURE_KEY = "another signature key, of 32 bytes or more"

# How releases are told to use one cache only. The older know no way to do without the remote one.
REMOTE_ONLY = {"turbo-1.13": "--remote-only", "turbo-2.0": "--remote-only"}
KNOW_LOCAL_ONLY = [one for one in RELEASES if one.alias not in REMOTE_ONLY]

# The oldest sends its events a few at a time while it runs, the newest nearly all in the end.
NEWEST = pytest.mark.parametrize(
    "release", [RELEASES[-1]], indirect=True, ids=lambda one: one.alias
)
MANY_BATCHES_AND_FEW = pytest.mark.parametrize(
    "release", [RELEASES[0], RELEASES[-1]], indirect=True, ids=lambda one: one.alias
)


@pytest.fixture
def tenant(shared_server: Server) -> Tenant:
    return Tenant(shared_server)


@pytest.fixture
def bench(bench_for: BenchFor, tenant: Tenant) -> Iterator[Workbench]:
    """A bench for a team of its own, whose runs are all there are."""
    with bench_for(tenant.server) as bench:
        yield bench


def test_a_cold_run_is_all_misses(bench: Workbench) -> None:
    cold = build(bench)

    check(bench, cold, COLD)
    assert server_says_of_all(bench.server) == COLD
    sizes = [len(upload.request_body) for upload in cold.uploads]
    assert moved(bench.server) == {
        "uploads": COUNT,
        "uploadedBytes": sum(sizes),
        "downloads": 0,
        "downloadedBytes": 0,
        "stored": COUNT,
        "storedBytes": sum(sizes),
    }


def test_a_run_elsewhere_is_all_remote_hits_that_save_what_the_cold_run_took(
    bench: Workbench,
) -> None:
    cold = build(bench)
    took_ms = sum(durations_in_cache(bench.repo).values())
    assert took_ms == sum(cold.uploaded_durations().values()) > 0
    start_afresh(bench)

    remote = build(bench)

    check(bench, remote, Numbers(tasks=COUNT, remote_hits=COUNT, remote_ms=took_ms))
    sizes = [len(download.response_body) for download in remote.downloads]
    assert moved(bench.server)["downloads"] == COUNT
    assert moved(bench.server)["downloadedBytes"] == sum(sizes)


def test_a_run_again_is_all_local_hits_that_save_what_the_cold_run_took(bench: Workbench) -> None:
    build(bench)
    took_ms = sum(durations_in_cache(bench.repo).values())

    again = build(bench)

    check(bench, again, Numbers(tasks=COUNT, local_hits=COUNT, local_ms=took_ms))


@NEWEST
def test_a_run_may_have_some_of_each(bench: Workbench) -> None:
    build(bench)
    took_ms = durations_in_cache(bench.repo)
    start_afresh(bench)
    build(bench, "--filter=core-0", "--filter=core-1")
    local_ms = durations_in_cache(bench.repo)
    bench.repo.edit("app-1")

    mixed = build(bench)

    local, missed = 2 * len(TASKS["core"]), len(TASKS["app"])
    assert len(bench.repo.executed()) == missed
    remote_ms = {name: took_ms[name] for name in mixed.durations("REMOTE")}
    assert len(local_ms) == local
    check(
        bench,
        mixed,
        Numbers(
            tasks=COUNT,
            local_hits=local,
            remote_hits=COUNT - local - missed,
            misses=missed,
            local_ms=sum(local_ms.values()),
            remote_ms=sum(remote_ms.values()),
        ),
    )


@NEWEST
def test_what_a_signature_spoils_is_a_miss(bench: Workbench) -> None:
    bench.repo.configure_remote_cache(signature=True)
    build(bench, TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    start_afresh(bench)

    distrusting = build(bench, TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert len(distrusting.downloads) == COUNT
    check(bench, distrusting, COLD)


@NEWEST
def test_runs_add_up_and_the_newest_is_listed_first(bench: Workbench) -> None:
    builds = [build(bench), build(bench)]
    start_afresh(bench)
    builds += [build(bench), build(bench)]

    told = {one.session: events_say(one.events) for one in reversed(builds)}

    hits = [one.local_hits + one.remote_hits for one in told.values()]
    assert hits == [COUNT, COUNT, COUNT, 0]
    assert list(runs_listed(bench.server).items()) == list(told.items())
    assert server_says_of_all(bench.server) == total(told.values())


@NEWEST
def test_an_artifact_is_of_the_run_that_made_it(bench: Workbench) -> None:
    cold = build(bench)
    start_afresh(bench)
    build(bench)
    bench.repo.edit("core-0")
    changed = build(bench)

    maker = dict.fromkeys(cold.uploaded_durations(), cold.session)
    maker |= dict.fromkeys(changed.uploaded_durations(), changed.session)

    assert len(maker) > COUNT
    eventually(lambda: makers(bench.server) == maker)


@NEWEST
def test_a_forced_run_says_nothing_and_its_uploads_count(bench: Workbench) -> None:
    build(bench)
    start_afresh(bench)

    forced = build(bench, "--force")

    # It sends no events. So turbo tells of a run with 56 tasks, and nobody else knows of it; but
    # what it made was stored.
    assert forced.events == []
    assert forced.turbo == COLD
    assert server_says_of_all(bench.server) == COLD
    assert len(runs_listed(bench.server)) == 1
    assert moved(bench.server)["uploads"] == 2 * COUNT
    assert moved(bench.server)["stored"] == COUNT


@NEWEST
def test_a_dry_run_is_none(bench: Workbench) -> None:
    build(bench)
    start_afresh(bench)
    before = moved(bench.server)

    dry = bench.build("--dry=json")

    assert dry.events == []
    assert server_says_of_all(bench.server) == COLD
    assert len(runs_listed(bench.server)) == 1
    assert moved(bench.server) == before


@pytest.mark.parametrize("release", KNOW_LOCAL_ONLY, indirect=True, ids=lambda one: one.alias)
def test_runs_with_the_local_cache_alone_are_told_too(bench: Workbench) -> None:
    cold = build(bench, "--cache=local:rw")
    took_ms = sum(durations_in_cache(bench.repo).values())
    again = build(bench, "--cache=local:rw")

    assert cold.kinds() == {("LOCAL", "MISS"): COUNT}
    check(bench, cold, COLD)
    check(bench, again, Numbers(tasks=COUNT, local_hits=COUNT, local_ms=took_ms))
    assert not any(moved(bench.server).values())


@NEWEST
def test_runs_with_the_remote_cache_alone_hit_remotely_each_time(bench: Workbench) -> None:
    only = REMOTE_ONLY.get(bench.release.alias, "--cache=remote:rw")
    cold = build(bench, only)
    took_ms = sum(cold.uploaded_durations().values())
    again = build(bench, only)

    assert again.kinds() == {("REMOTE", "HIT"): COUNT}
    check(bench, cold, COLD)
    check(bench, again, Numbers(tasks=COUNT, remote_hits=COUNT, remote_ms=took_ms))


def test_a_remote_hit_whose_time_was_lost_on_the_way_saves_what_its_artifact_took(
    bench: Workbench,
) -> None:
    cold = build(bench)
    took_ms = sum(cold.uploaded_durations().values())
    start_afresh(bench)
    with ForgetfulProxy(bench.server.url) as forgetful:
        bench.proxy.upstream = forgetful.url

        remote = build(bench)

        eventually(lambda: forgetful.connections == 0)
    # All that turbo knows is that it saved nothing.
    assert set(remote.durations("REMOTE").values()) == {0}
    assert remote.turbo == Numbers(tasks=COUNT, remote_hits=COUNT)
    assert server_says(bench.server, remote.session) == Numbers(
        tasks=COUNT, remote_hits=COUNT, remote_ms=took_ms
    )


@MANY_BATCHES_AND_FEW
def test_a_run_counts_whole_when_the_server_is_killed_right_after_it(
    mortal_bench: Workbench,
) -> None:
    bench = mortal_bench
    cold = build(bench)
    took_ms = sum(cold.uploaded_durations().values())
    start_afresh(bench)
    remote = build(bench)
    bench.server.kill()
    bench.server.start()

    check(bench, cold, COLD)
    check(bench, remote, Numbers(tasks=COUNT, remote_hits=COUNT, remote_ms=took_ms))
    assert server_says_of_all(bench.server) == Numbers(
        tasks=2 * COUNT, remote_hits=COUNT, misses=COUNT, remote_ms=took_ms
    )


@MANY_BATCHES_AND_FEW
def test_of_a_run_whose_server_is_killed_what_it_acknowledged_counts(
    mortal_bench: Workbench,
) -> None:
    bench = mortal_bench
    bench.proxy.before_forwarding = killer(
        bench, lambda _: accepted_events(bench.proxy.exchanges) != []
    )
    interrupted = build(bench)
    bench.proxy.before_forwarding = None
    bench.server.start()

    # turbo tells of all tasks. The events that it could not send, it does not send later.
    assert interrupted.turbo == COLD
    session = interrupted.session
    told = server_says(bench.server, session)
    assert told == events_say(bench.server.events(sessionId=session))
    assert 0 < events_say(interrupted.events).tasks <= told.tasks <= COUNT
    assert told.misses == told.tasks
    assert runs_listed(bench.server) == {session: told}


@MANY_BATCHES_AND_FEW
def test_of_a_run_whose_server_is_killed_before_its_events_came_nothing_can_be_told(
    mortal_bench: Workbench,
) -> None:
    bench = mortal_bench
    bench.proxy.before_forwarding = killer(bench, lambda method: method == "POST")
    lost = build(bench)
    bench.proxy.before_forwarding = None
    bench.server.start()

    # turbo tells of all tasks, the server of none; and it still has what was stored by then.
    assert lost.events == []
    assert lost.turbo == COLD
    assert server_says_of_all(bench.server) == NOTHING
    assert runs_listed(bench.server) == {}
    stored = sum(upload.status == 202 for upload in lost.uploads)
    assert stored <= moved(bench.server)["stored"] <= COUNT


def check(bench: Workbench, one: CountedBuild, expected: Numbers) -> None:
    """Everybody says the same of a build."""
    assert one.turbo == expected
    assert events_say(one.events) == expected
    assert server_says(bench.server, one.session) == expected
    assert runs_listed(bench.server)[one.session] == expected


def start_afresh(bench: Workbench) -> None:
    """As if on another machine, with the server that this one has filled."""
    bench.repo.forget_builds()
    bench.repo.executed()


def killer(bench: Workbench, is_time: Callable[[str], object]) -> Callable[[str, str], None]:
    """Kills the server once, before the first request to be passed on whose method says that it is
    time."""
    strokes = itertools.count()

    def kill(method: str, _path: str) -> None:
        if is_time(method) and next(strokes) == 0:
            bench.server.kill()

    return kill
