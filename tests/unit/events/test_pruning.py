"""Pruning: expired runs are deleted, and events that still count are kept."""

from hitrate.clock import Clock, ManualClock
from hitrate.events.models import EventFilter, RunTotalsDelta
from hitrate.events.transfers import TransferCounter
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS
from tests.support.ingest_harness import START_MS, IngestHarness, task

TTL_S = 3600.0
HOUR_MS = 3_600_000


def prune(harness: IngestHarness, at: int, ttl_s: float | None = TTL_S) -> int:
    """Prune `at` milliseconds after START_MS. Return the number of deleted events."""
    return harness.store.prune(set(), START_MS + at, ttl_s)


def count(harness: IngestHarness, table: str) -> int:
    with harness.store.cursor() as cursor:
        row = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def test_prune_deletes_expired_runs_with_their_events(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_MISS, LOCAL_HIT, session="past")))
    harness.load(harness.batch(*task(LOCAL_HIT, session="present"), at=1))
    assert prune(harness, HOUR_MS) == 0
    assert prune(harness, HOUR_MS + 1) == 2
    assert [record.session_id for record in harness.store.events(EventFilter("team_a"))] == [
        "present"
    ]
    assert count(harness, "runs") == 1


def test_prune_deletes_no_runs_without_a_ttl(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_HIT)))
    assert prune(harness, 1000 * HOUR_MS, ttl_s=None) == 0
    assert (count(harness, "runs"), count(harness, "events")) == (1, 1)


def test_prune_keeps_all_events_of_an_active_run(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_HIT, name="early", ms=5)))
    harness.load(harness.batch(*task(LOCAL_HIT, name="late", ms=7), at=HOUR_MS))
    before = harness.run()
    assert prune(harness, HOUR_MS + 1) == 0
    assert harness.run() == before
    assert (before.tasks, before.local_ms, before.started) == (2, 12, 0)
    repeated_task = task(LOCAL_HIT, name="early", ms=4)
    loaded = harness.load(
        harness.batch(*task(LOCAL_MISS, name="new"), *repeated_task, at=2 * HOUR_MS)
    )
    assert harness.run()[4:9] == (3, 2, 0, 12, 0)
    assert loaded.totals == RunTotalsDelta(2, 0, 1, 0, 0, 0, 0)
    assert prune(harness, 3 * HOUR_MS + 1) == 4
    assert (count(harness, "runs"), count(harness, "events")) == (0, 0)


def test_session_of_a_deleted_run_starts_a_new_run(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_HIT)))
    prune(harness, 2 * HOUR_MS)
    harness.load(harness.batch(*task(LOCAL_MISS), at=3 * HOUR_MS))
    assert harness.run()[2:6] == (3 * HOUR_MS, 3 * HOUR_MS, 1, 0)


def test_duplicate_of_a_deleted_batch_creates_no_run(harness: IngestHarness) -> None:
    batch = harness.batch(*task(LOCAL_HIT))
    harness.load(batch)
    prune(harness, 60_000, ttl_s=1)
    assert harness.load(batch).duplicate_events == 1
    assert count(harness, "runs") == 0


def test_prune_keeps_digests_for_ten_minutes(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_HIT)))
    prune(harness, 600_000)
    assert count(harness, "batches") == 1
    prune(harness, 600_001)
    assert count(harness, "batches") == 0


def test_prune_deletes_expired_transfers(harness: IngestHarness) -> None:
    clock: Clock = ManualClock(START_MS)
    transfers = TransferCounter(clock)
    transfers.uploaded("team_a", "tok_a", (None, None, None), 10)
    harness.store.add_transfers(transfers.drain())
    prune(harness, HOUR_MS)
    assert count(harness, "transfers") == 1
    prune(harness, HOUR_MS + 60_000)
    assert count(harness, "transfers") == 0
