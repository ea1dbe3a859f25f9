"""Reports on a million events equal the reference, for several orders and batch sizes."""

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec
import pytest

from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.period import Period
from hitrate.events.wire import Batch, CacheEvent
from tests.support.analytics_fixture import (
    OTHER_TEAM_ID,
    TEAM_ID,
    TOKEN_IDS,
    AnalyticsFixture,
    EventStoreFixture,
)
from tests.support.reference_analytics import DAY_MS, Runs, runs_of, totals_of
from tests.support.report_comparison import (
    GROUPS,
    assert_breakdown,
    assert_run_details,
    assert_runs,
    assert_summary,
    assert_timeseries,
)

EVENTS = 1_000_000
BATCH_SIZE = 1000
RESENT_BATCHES = 40
START_MS = 1_800_000_000_000
SPAN_MS = 20 * DAY_MS
PERIOD = Period(START_MS, START_MS + 2 * SPAN_MS)

HASHES = [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(700)] + [
    f"{n:x}/{'é' * (n % 9)}" for n in range(100)
]
SOURCES: tuple[Literal["LOCAL"], Literal["REMOTE"]] = ("LOCAL", "REMOTE")
KINDS: tuple[Literal["HIT"], Literal["MISS"]] = ("HIT", "MISS")
DURATIONS = (msgspec.UNSET, 0.0, 12.5, 400.0, 400.5, 61_000.0, 86_400_000.0, 1e12, -7.0)
WEIGHTS = (2, 6, 10, 40, 20, 20, 1, 2, 1)
ARTIFACT_DURATIONS = {(TEAM_ID, name): 1000.5 + n for n, name in enumerate(HASHES[::3])}


@pytest.fixture(scope="module")
def batches() -> Iterator[list[Batch]]:
    """A million events in batches, in order of time.

    A fifth of the sessions are long and send most of the batches. Most batches have events of
    several sessions, and some batches are re-sent.
    """
    rng = random.Random(7)
    count = EVENTS // BATCH_SIZE - RESENT_BATCHES
    minutes = sorted(rng.sample(range(SPAN_MS // 60_000), count))
    # Millions of objects are created and none is garbage: collection would take most of the time.
    gc.disable()
    batches = [_batch(rng, number, minute) for number, minute in enumerate(minutes)]
    resent = [_resend(batch) for batch in rng.sample(batches, RESENT_BATCHES)]
    yield sorted(batches + resent, key=lambda batch: batch.received_at)
    gc.enable()


@pytest.fixture(scope="module")
def expected(batches: list[Batch]) -> Runs:
    """The runs of all batches, by the reference."""
    return runs_of(batches, ARTIFACT_DURATIONS)


@pytest.fixture(scope="module", autouse=True)
def _artifacts(analytics: AnalyticsFixture) -> None:
    analytics.add_artifacts(ARTIFACT_DURATIONS)


def _batch(rng: random.Random, number: int, minute: int) -> Batch:
    sessions = [
        f"long {rng.randrange(200)}" if rng.random() < 0.7 else f"short {rng.randrange(4000)}"
        for _ in range(rng.choice((1, 3, 30)))
    ]
    events = [
        CacheEvent(rng.choice(sessions), source, kind, name, duration)
        for source, kind, name, duration in zip(
            rng.choices(SOURCES, k=BATCH_SIZE),
            rng.choices(KINDS, (1, 2), k=BATCH_SIZE),
            rng.choices(HASHES, k=BATCH_SIZE),
            rng.choices(DURATIONS, WEIGHTS, k=BATCH_SIZE),
            strict=True,
        )
    ]
    return Batch(
        team=rng.choice((TEAM_ID, TEAM_ID, OTHER_TEAM_ID)),
        token=rng.choice(TOKEN_IDS),
        received_at=START_MS + minute * 60_000 + rng.randrange(1000),
        ci=rng.choice((None, "GITHUB_ACTIONS", "JENKINS")),
        interactive=rng.choice((None, True, False)),
        agent=rng.choice((None, "claude-code")),
        digest=f"{number}",
        events=events,
    )


def _resend(batch: Batch) -> Batch:
    """Return the same batch, received half a minute later."""
    return msgspec.structs.replace(batch, received_at=batch.received_at + 30_000)


def split_batches(batches: Sequence[Batch], size: int) -> Iterator[Batch]:
    """Split batches into smaller ones; those of a re-sent batch equal those of the original."""
    for batch in batches:
        for first in range(0, len(batch.events), size):
            events = batch.events[first : first + size]
            digest = f"{batch.digest} from {first}"
            yield msgspec.structs.replace(batch, digest=digest, events=events)


def split_segments(batches: Sequence[Batch], count: int) -> list[Sequence[Batch]]:
    """Distribute batches over `count` segments, in order."""
    size = -(-len(batches) // count)
    return [batches[first : first + size] for first in range(0, len(batches), size)]


def in_order(batches: list[Batch]) -> list[Sequence[Batch]]:
    return split_segments(list(split_batches(batches, 100)), 10)


def backwards(batches: list[Batch]) -> list[Sequence[Batch]]:
    return split_segments(batches[::-1], 7)


def shuffled(batches: list[Batch]) -> list[Sequence[Batch]]:
    smaller = list(split_batches(batches, 250))
    random.Random(11).shuffle(smaller)
    return split_segments(smaller, 5)


def assert_reports(event_store: EventStoreFixture, runs: Runs) -> None:
    """Assert that all reports on runs equal the reference, and the tasks of some runs."""
    for team_id in (TEAM_ID, OTHER_TEAM_ID):
        query = ReportQuery(team_id, PERIOD)
        assert_runs(event_store, runs, query, "newest")
        assert_summary(event_store, runs, query)
        assert_timeseries(event_store, runs, query, "day", "Europe/Berlin")
        for by in GROUPS:
            assert_breakdown(event_store, runs, query, by)
    sample = sorted(runs)[:: max(1, len(runs) // 12)]
    assert_run_details(event_store, {key: runs[key] for key in sample}, ARTIFACT_DURATIONS)


def assert_totals(changes: Sequence[Sequence[int]], runs: Runs) -> None:
    """Assert that the changes reported by the loader add up to the reference."""
    events, *totals = (sum(column) for column in zip(*changes, strict=True))
    expected = totals_of(runs.values())
    assert events == expected.events
    assert totals == [
        expected.runs, expected.tasks, expected.local_hits, expected.remote_hits,
        expected.local_ms, expected.remote_ms,
    ]  # fmt: skip


@pytest.mark.parametrize("arrange", [in_order, backwards, shuffled])
def test_reports_match_reference_for_a_million_events_in_any_order(
    analytics: AnalyticsFixture,
    batches: list[Batch],
    expected: Runs,
    arrange: Callable[[list[Batch]], list[Sequence[Batch]]],
) -> None:
    with analytics.event_store() as event_store:
        results = [
            event_store.load(str(number), segment)
            for number, segment in enumerate(arrange(batches))
        ]
        assert_reports(event_store, expected)
    assert_totals([result.totals for result in results], expected)
    assert sum(result.events + result.duplicate_events for result in results) == EVENTS


def test_reports_match_reference_for_batches_of_one_event(
    analytics: AnalyticsFixture, batches: list[Batch]
) -> None:
    runs = runs_of(batches[:100], ARTIFACT_DURATIONS)
    single = list(split_batches(batches[:100], 1))
    random.Random(13).shuffle(single)
    with analytics.event_store() as event_store:
        results = [
            event_store.load(str(number), segment)
            for number, segment in enumerate(split_segments(single, 3))
        ]
        assert_reports(event_store, runs)
    assert_totals([result.totals for result in results], runs)


def test_million_events_cover_duplicates_anomalies_and_long_runs(expected: Runs) -> None:
    totals = totals_of(expected.values())
    assert totals.runs > 3000
    assert totals.duplicates > 200_000
    assert totals.anomalies > 10_000
    assert 0.2 < totals.local_hits / totals.tasks < 0.8
    assert 0.05 < totals.remote_hits / totals.tasks < 0.8
    assert any(run.ended_at - run.started_at > SPAN_MS / 2 for run in expected.values())
