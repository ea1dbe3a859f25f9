"""Ingestion: events are assigned to runs and tasks, and totals stay exact when batches are late."""

import json
from collections.abc import Iterable

import pytest

from hitrate.errors import DatabaseError, InvalidSegment
from hitrate.events import wire
from hitrate.events.models import EventFilter, LoadResult, RunTotalsDelta
from hitrate.events.outcomes import MAX_DURATION_MS
from hitrate.events.wire import CacheEvent
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, REMOTE_MISS
from tests.support.ingest_harness import HASH, IngestHarness, task

# Runs


def test_same_session_of_two_teams_is_two_runs(harness: IngestHarness) -> None:
    hit, miss = (list(task(kind)) for kind in (LOCAL_HIT, LOCAL_MISS))
    harness.load(harness.batch(*hit), harness.batch(*miss, team="team_b"))
    harness.load(harness.batch(*miss, team="team_b", at=5))
    assert harness.run().local_hits == 1
    assert harness.run(team="team_b")[4:6] == (1, 0)
    assert (harness.run().ended, harness.run(team="team_b").ended) == (0, 5)


def test_team_and_session_pairs_with_the_same_concatenation_are_separate_runs(
    harness: IngestHarness,
) -> None:
    one = harness.batch(*task(LOCAL_HIT, session="a/b"), team="team")
    other = harness.batch(*task(LOCAL_MISS, session="b"), team="team/a")
    for _ in range(2):
        harness.load(one, other)
    harness.load(harness.batch(*task(LOCAL_HIT, session="b"), team="team/a"))
    assert (harness.run("a/b", "team").events, harness.run("a/b", "team").resent) == (1, 1)
    assert (harness.run("b", "team/a").events, harness.run("b", "team/a").resent) == (2, 1)
    assert harness.run("b", "team/a").local_hits == 1


def test_run_of_two_tokens_has_the_sender_of_the_earlier_batch(harness: IngestHarness) -> None:
    second = harness.batch(*task(LOCAL_HIT), at=9, token="tok_b", ci="B")
    first = harness.batch(*task(LOCAL_MISS, REMOTE_MISS), at=5, token="tok_a", ci="A")
    harness.load(second)
    assert harness.run()[:4] == ("tok_b", "B", 9, 9)
    harness.load(first)
    assert harness.run()[:6] == ("tok_a", "A", 5, 9, 1, 1)
    records = harness.store.events(EventFilter("team_a"))
    assert [(one.token_id, one.ci) for one in records] == [("tok_a", "A")] * 2 + [("tok_b", "B")]


def test_run_span_ignores_the_order_of_lines_in_a_segment(harness: IngestHarness) -> None:
    late = harness.batch(*task(LOCAL_HIT), at=9, ci="late")
    early = harness.batch(*task(LOCAL_HIT), at=5, ci="early")
    harness.load(late, early)
    assert harness.run()[1:4] == ("early", 5, 9)


def test_batch_may_contain_events_of_several_runs(harness: IngestHarness) -> None:
    events = [
        CacheEvent(f"s{n % 3}", "LOCAL", "HIT" if n % 2 else "MISS", f"h{n % 4}") for n in range(12)
    ]
    loaded = harness.load(harness.batch(*events, at=7))
    assert loaded.totals == RunTotalsDelta(12, 3, 12, 6, 0, 0, 0)
    for session in ("s0", "s1", "s2"):
        run = harness.run(session)
        assert (run.started, run.ended, run.tasks, run.local_hits) == (7, 7, 4, 2)


def test_run_ids_follow_the_order_of_batches(harness: IngestHarness) -> None:
    sessions = [f"session {n * 7919 % 500}" for n in range(500)]
    harness.load(*(harness.batch(*task(LOCAL_HIT, session=session)) for session in sessions))
    with harness.store.cursor() as cursor:
        records = cursor.execute("SELECT session_id FROM runs ORDER BY id").fetchall()
    assert [session for (session,) in records] == sessions


def test_event_ids_follow_the_order_of_events(harness: IngestHarness) -> None:
    names = [f"{n * 7919 % 5000:016x}" if n % 3 else f"odd {n}" for n in range(5000)]
    events = [CacheEvent(f"s{n % 700}", "REMOTE", "HIT", name) for n, name in enumerate(names)]
    harness.artifacts.durations = dict.fromkeys(names[::2], 5.0)
    harness.load(*(harness.batch(*events[n : n + 50]) for n in range(0, 5000, 50)))
    records = harness.store.events(EventFilter("team_a", limit=10_000))
    assert [record.hash for record in records] == names[::-1]


# Tasks


def test_late_batch_updates_its_run_and_reports_the_difference(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_MISS, REMOTE_MISS), at=1))
    assert harness.run()[4:9] == (1, 0, 0, 0, 0)
    remote = harness.load(harness.batch(*task(REMOTE_HIT, ms=30), at=2))
    assert harness.run()[4:9] == (1, 0, 1, 0, 30)
    assert remote.totals == RunTotalsDelta(1, 0, 0, 0, 1, 0, 30)
    local = harness.load(harness.batch(*task(LOCAL_HIT, ms=20), at=0))
    assert harness.run()[4:9] == (1, 1, 0, 20, 0)
    assert local.totals == RunTotalsDelta(1, 0, 0, 1, -1, 20, -30)
    longer = harness.load(harness.batch(*task(REMOTE_HIT, LOCAL_HIT, ms=50), at=3))
    assert harness.run()[2:] == (0, 3, 1, 1, 0, 50, 0, 6, 2, 0, 0)
    assert longer.totals == RunTotalsDelta(2, 0, 0, 0, 0, 30, 0)


def test_run_with_many_batches_in_a_segment_is_updated_once(harness: IngestHarness) -> None:
    harness.load(harness.batch(*task(LOCAL_MISS)))
    harness.load(*(harness.batch(*task(LOCAL_HIT, name=f"h{n % 9}", ms=10)) for n in range(90)))
    assert harness.run()[4:] == (10, 9, 0, 90, 0, 91, 81, 0, 0)


@pytest.mark.parametrize(
    ("duration", "saved", "anomalies"),
    [
        (0.49, 0, 0), (0.5, 1, 0), (1.5, 2, 0), (-0.0, 0, 0), (-0.1, 0, 1), (-1e300, 0, 1),
        (MAX_DURATION_MS - 0.5, MAX_DURATION_MS, 0), (MAX_DURATION_MS, MAX_DURATION_MS, 0),
        (MAX_DURATION_MS + 0.1, MAX_DURATION_MS, 1), (1e300, MAX_DURATION_MS, 1),
    ],
)  # fmt: skip
def test_impossible_durations_are_clamped_and_counted_as_anomalies(
    harness: IngestHarness, duration: float, saved: int, anomalies: int
) -> None:
    harness.load(harness.batch(*task(LOCAL_HIT, ms=duration)))
    assert (harness.run().local_ms, harness.run().anomalies) == (saved, anomalies)


def test_run_of_many_tasks_in_many_segments_is_counted_exactly(harness: IngestHarness) -> None:
    segments, batch_size = 20, 10_000
    for number in range(segments):
        new = [f"{number * batch_size + n:016x}" for n in range(batch_size)]
        old = [f"{n:016x}" for n in range(0, number * batch_size, 50)]
        batches = [
            harness.batch(
                *misses(new[n : n + 500]), *hits_of_impossible_duration(old[n // 50 : n // 50 + 10])
            )
            for n in range(0, batch_size, 500)
        ]
        harness.load(*batches, harness.batch(*hits_of_impossible_duration(new[::2])))
    run = harness.run()
    tasks, hits = segments * batch_size, segments * batch_size // 2
    assert (run.tasks, run.local_hits, run.local_ms) == (tasks, hits, hits * MAX_DURATION_MS)
    assert run.events - run.repeats == run.tasks + run.local_hits
    assert run.anomalies == run.events - run.tasks


def misses(names: Iterable[str]) -> list[CacheEvent]:
    return [CacheEvent("s", "LOCAL", "MISS", name) for name in names]


def hits_of_impossible_duration(names: Iterable[str]) -> list[CacheEvent]:
    """Create hits whose durations are above the maximum."""
    return [CacheEvent("s", "LOCAL", "HIT", name, 1e12) for name in names]


def test_similar_hashes_are_different_tasks(harness: IngestHarness) -> None:
    names = [
        HASH, HASH.upper(), f"0x{HASH}", f"{HASH}\n", f"\0{HASH}", HASH[:-1], f"0{HASH}", "",
        "0" * 16, "0", "0_00000000000000", "\uff10" * 16, "f" * 16, "f" * 64,
    ]  # fmt: skip
    for name in names:
        harness.load(harness.batch(*task(LOCAL_MISS, LOCAL_HIT, name=name)))
    assert (harness.run().tasks, harness.run().repeats) == (len(names), 0)
    records = harness.store.events(EventFilter("team_a", limit=100))
    assert [record.hash for record in records] == [name for name in names[::-1] for _ in range(2)]
    for name in names:
        assert len(harness.store.events(EventFilter("team_a", hash=name))) == 2


def test_hash_collision_in_one_team_does_not_affect_another_team(harness: IngestHarness) -> None:
    with harness.store.cursor() as cursor:
        row = cursor.execute("SELECT printf('%016x', md5_number_lower('odd'))").fetchone()
    assert row is not None
    [twin] = row
    harness.load(harness.batch(*task(LOCAL_HIT, name="odd"), *task(LOCAL_HIT, name=twin)))
    harness.load(harness.batch(*task(LOCAL_HIT, name=twin), team="team_b"))
    [record] = harness.store.events(EventFilter("team_b"))
    assert record.hash == twin
    assert harness.run(team="team_b").tasks == 1


# Durations of artifacts


def test_remote_hit_without_duration_saves_the_duration_of_its_artifact(
    harness: IngestHarness,
) -> None:
    harness.artifacts.durations = {HASH: 700.4}
    without_duration = CacheEvent("s", "REMOTE", "HIT", HASH)
    harness.load(harness.batch(*task(LOCAL_MISS), without_duration, *task(REMOTE_HIT, ms=0.0)))
    assert harness.run().remote_ms == 700


def test_artifact_durations_are_looked_up_only_for_remote_hits_without_duration(
    harness: IngestHarness,
) -> None:
    harness.load(
        harness.batch(
            *task(REMOTE_HIT, name="with_duration", ms=5),
            *task(LOCAL_HIT, LOCAL_MISS, REMOTE_MISS, name="local"),
            *task(REMOTE_HIT, name="without_duration"),
        )
    )
    assert harness.artifacts.lookups == [{"without_duration"}]


def test_artifact_duration_is_kept_after_the_artifact_is_deleted(harness: IngestHarness) -> None:
    harness.artifacts.durations = {HASH: 700.0}
    harness.load(harness.batch(*task(REMOTE_HIT)))
    harness.artifacts.durations = {}
    loaded = harness.load(harness.batch(*task(REMOTE_HIT, LOCAL_MISS)))
    assert harness.run().remote_ms == 700
    assert loaded.totals == RunTotalsDelta(2, 0, 0, 0, 0, 0, 0)


def test_impossible_artifact_durations_are_clamped_and_counted_as_anomalies(
    harness: IngestHarness,
) -> None:
    harness.artifacts.durations = {"long": 1e15, "negative": -5.0}
    harness.load(harness.batch(*task(REMOTE_HIT, name="long"), *task(REMOTE_HIT, name="negative")))
    assert (harness.run().remote_ms, harness.run().anomalies) == (MAX_DURATION_MS, 2)


def test_load_is_rolled_back_and_repeatable_when_artifact_lookup_fails(
    harness: IngestHarness,
) -> None:
    harness.load(harness.batch(*task(LOCAL_MISS)))
    batches = [harness.batch(*task(REMOTE_HIT), at=n) for n in range(3)]
    harness.artifacts.unavailable = True
    for _ in range(2):
        with pytest.raises(DatabaseError):
            harness.load(*batches)
        assert harness.run().events == 1
    harness.artifacts.unavailable = False
    assert harness.load(*batches) == LoadResult(3)
    assert harness.run()[4:7] == (1, 0, 1)


# Invalid events


@pytest.mark.parametrize(
    "item",
    [
        {"sessionId": "s", "source": "CLOUD", "event": "HIT", "hash": "h"},
        {"sessionId": "s", "source": "LOCAL", "event": "PUT", "hash": "h"},
        {"sessionId": "s", "source": "LOCAL", "event": "HIT"},
        {"source": "LOCAL", "event": "HIT", "hash": "h"},
        None,
    ],
)
def test_invalid_event_fails_both_check_and_load(
    harness: IngestHarness, item: dict[str, str] | None
) -> None:
    valid = wire.encode_batch(harness.batch(*task(LOCAL_HIT)))
    invalid = harness.directory / "invalid.ndjson"
    line = wire.encode_batch(harness.batch()).replace(b"[]", json.dumps([item]).encode())
    invalid.write_bytes(valid + line)
    assert harness.store.check(invalid)
    with pytest.raises(InvalidSegment):
        harness.store.load(invalid, "invalid")
    assert harness.store.events(EventFilter("team_a")) == []
