"""The server's reports of runs of the real `turbo` after the server was killed."""

from __future__ import annotations

import pytest

from tests.support.monorepo import all_tasks
from tests.support.run_counts import (
    NO_COUNTS,
    RunCounts,
    artifact_traffic,
    build_with_summary,
    check_counts,
    counts_by_session,
    counts_from_events,
    counts_from_server,
    team_counts_from_server,
)
from tests.support.turbo_harness import RELEASES, TurboHarness, accepted_events

COUNT = len(all_tasks())
COLD = RunCounts(tasks=COUNT, misses=COUNT)

# The oldest release sends small batches of events while it runs, the newest almost all at the end.
OLDEST_AND_NEWEST = pytest.mark.parametrize(
    "release", [RELEASES[0], RELEASES[-1]], indirect=True, ids=lambda one: one.alias
)


@OLDEST_AND_NEWEST
def test_run_is_counted_completely_if_the_server_is_killed_after_it(
    killable_harness: TurboHarness,
) -> None:
    harness = killable_harness
    cold = build_with_summary(harness)
    cold_ms = sum(cold.uploaded_durations().values())
    harness.simulate_new_machine()
    remote = build_with_summary(harness)
    harness.server.kill()
    harness.server.start()

    check_counts(harness, cold, COLD)
    check_counts(harness, remote, RunCounts(tasks=COUNT, remote_hits=COUNT, remote_ms=cold_ms))
    assert team_counts_from_server(harness.server) == RunCounts(
        tasks=2 * COUNT, remote_hits=COUNT, misses=COUNT, remote_ms=cold_ms
    )


@OLDEST_AND_NEWEST
def test_acknowledged_events_are_counted_if_the_server_is_killed_during_the_run(
    killable_harness: TurboHarness,
) -> None:
    harness = killable_harness
    harness.kill_server_before(lambda _: accepted_events(harness.proxy.exchanges) != [])
    interrupted = build_with_summary(harness)
    harness.proxy.before_forwarding = None
    harness.server.start()

    # turbo reports all tasks, but never re-sends the events that it could not send.
    assert interrupted.turbo_counts == COLD
    session = interrupted.session
    counts = counts_from_server(harness.server, session)
    assert counts == counts_from_events(harness.server.events(sessionId=session))
    assert 0 < counts_from_events(interrupted.events).tasks <= counts.tasks <= COUNT
    assert counts.misses == counts.tasks
    assert counts_by_session(harness.server) == {session: counts}


@OLDEST_AND_NEWEST
def test_run_is_not_counted_if_the_server_is_killed_before_its_events(
    killable_harness: TurboHarness,
) -> None:
    harness = killable_harness
    harness.kill_server_before(lambda method: method == "POST")
    lost = build_with_summary(harness)
    harness.proxy.before_forwarding = None
    harness.server.start()

    # turbo reports all tasks and the server none; artifacts stored before the kill remain.
    assert lost.events == []
    assert lost.turbo_counts == COLD
    assert team_counts_from_server(harness.server) == NO_COUNTS
    assert counts_by_session(harness.server) == {}
    stored = sum(upload.status == 202 for upload in lost.uploads)
    assert stored <= artifact_traffic(harness.server)["stored"] <= COUNT
