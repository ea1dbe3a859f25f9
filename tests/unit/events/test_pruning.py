"""GarbageCollector: what is too old goes, and nothing that is still counted with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitrate.clock import Clock, ManualClock
from hitrate.events.models import EventFilter, RunTotalsDelta
from hitrate.events.traffic import TransferCounter
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS
from tests.unit.events.test_ingest import START, Intake, task

KEEP_S = 3600.0
HOUR_MS = 3_600_000


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    intake = Intake(tmp_path)
    yield intake
    intake.store.close()


def tidy(intake: Intake, at: int, keep_s: float | None = KEEP_S) -> int:
    """At that many milliseconds after the start."""
    return intake.store.prune(set(), START + at, keep_s)


def count(intake: Intake, table: str) -> int:
    with intake.store.cursor() as cursor:
        row = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def test_runs_and_events_of_the_past_go(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_MISS, LOCAL_HIT, session="past")))
    intake.load(intake.batch(*task(LOCAL_HIT, session="present"), at=1))
    assert tidy(intake, HOUR_MS) == 0
    assert tidy(intake, HOUR_MS + 1) == 2
    assert [record.session_id for record in intake.store.events(EventFilter("team_a"))] == [
        "present"
    ]
    assert count(intake, "runs") == 1


def test_without_an_age_everything_stays(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_HIT)))
    assert tidy(intake, 1000 * HOUR_MS, keep_s=None) == 0
    assert (count(intake, "runs"), count(intake, "events")) == (1, 1)


def test_a_run_that_still_grows_keeps_its_totals_and_knows_its_tasks(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_HIT, name="early", ms=5)))
    intake.load(intake.batch(*task(LOCAL_HIT, name="late", ms=7), at=HOUR_MS))
    before = intake.run()
    assert tidy(intake, HOUR_MS + 1) == 0
    assert intake.run() == before
    assert (before.tasks, before.local_ms, before.started) == (2, 12, 0)
    again = task(LOCAL_HIT, name="early", ms=4)
    loaded = intake.load(intake.batch(*task(LOCAL_MISS, name="new"), *again, at=2 * HOUR_MS))
    assert intake.run()[4:9] == (3, 2, 0, 12, 0)
    assert loaded.totals == RunTotalsDelta(2, 0, 1, 0, 0, 0, 0)
    assert tidy(intake, 3 * HOUR_MS + 1) == 4
    assert (count(intake, "runs"), count(intake, "events")) == (0, 0)


def test_a_session_that_is_known_no_more_begins_anew(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_HIT)))
    tidy(intake, 2 * HOUR_MS)
    intake.load(intake.batch(*task(LOCAL_MISS), at=3 * HOUR_MS))
    assert intake.run()[2:6] == (3 * HOUR_MS, 3 * HOUR_MS, 1, 0)


def test_a_copy_of_what_is_gone_leaves_no_run(intake: Intake) -> None:
    batch = intake.batch(*task(LOCAL_HIT))
    intake.load(batch)
    tidy(intake, 60_000, keep_s=1)
    assert intake.load(batch).duplicate_events == 1
    assert count(intake, "runs") == 0


def test_digests_are_remembered_for_ten_minutes(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_HIT)))
    tidy(intake, 600_000)
    assert count(intake, "batches") == 1
    tidy(intake, 600_001)
    assert count(intake, "batches") == 0


def test_what_was_moved_in_the_past_goes(intake: Intake) -> None:
    clock: Clock = ManualClock(START)
    transfers = TransferCounter(clock)
    transfers.uploaded("team_a", "tok_a", (None, None, None), 10)
    intake.store.add_transfers(transfers.drain())
    tidy(intake, HOUR_MS)
    assert count(intake, "transfers") == 1
    tidy(intake, HOUR_MS + 60_000)
    assert count(intake, "transfers") == 0
