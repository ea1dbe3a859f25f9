"""The server is killed during builds with each release of the real `turbo`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.monorepo import all_tasks
from tests.support.turbo_harness import TurboHarness, accepted_events

# Returns whether to kill the server, from the exchanges so far and the method of the next request.
KillCondition = Callable[[TurboHarness, str], bool]


def _before_first_upload(_harness: TurboHarness, method: str) -> bool:
    return method == "PUT"


def _after_first_events(harness: TurboHarness, _method: str) -> bool:
    return accepted_events(harness.proxy.exchanges) != []


@pytest.mark.parametrize(
    "condition",
    [_before_first_upload, _after_first_events],
    ids=["before the first upload", "after the first events"],
)
def test_server_kill_during_a_build_loses_neither_the_build_nor_acknowledged_uploads(
    killable_harness: TurboHarness, condition: KillCondition
) -> None:
    harness = killable_harness
    harness.kill_server_before(lambda method: condition(harness, method))
    interrupted = harness.build()
    harness.proxy.before_forwarding = None

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert None in {exchange.status for exchange in interrupted.exchanges}

    harness.server.start()
    acknowledged = {upload.artifact_hash for upload in interrupted.uploads if upload.status == 202}
    assert acknowledged <= harness.stored_hashes(interrupted.uploads)
