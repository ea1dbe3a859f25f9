"""A million events, in several orders and splits, come to what the reference finds."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
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
A_BATCH = 1000
COPIES = 40
START = 1_800_000_000_000
SPAN_MS = 20 * DAY_MS
PERIOD = Period(START, START + 2 * SPAN_MS)

HASHES = [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(700)] + [
    f"{n:x}/{'é' * (n % 9)}" for n in range(100)
]
SOURCES: tuple[Literal["LOCAL"], Literal["REMOTE"]] = ("LOCAL", "REMOTE")
KINDS: tuple[Literal["HIT"], Literal["MISS"]] = ("HIT", "MISS")
DURATIONS = (msgspec.UNSET, 0.0, 12.5, 400.0, 400.5, 61_000.0, 86_400_000.0, 1e12, -7.0)
WEIGHTS = (2, 6, 10, 40, 20, 20, 1, 2, 1)
ARTIFACT_DURATIONS = {(TEAM_ID, name): 1000.5 + n for n, name in enumerate(HASHES[::3])}


@cache
def million() -> list[Batch]:
    """In order of time. A fifth of the sessions, which are long, sends most of the batches; some
    batches come again, and most tell of several sessions."""
    rng = random.Random(7)
    moments = sorted(rng.sample(range(SPAN_MS // 60_000), EVENTS // A_BATCH - COPIES))
    batches = [_batch(rng, number, minute) for number, minute in enumerate(moments)]
    again = [_later(batch) for batch in rng.sample(batches, COPIES)]
    return sorted(batches + again, key=lambda batch: batch.received_at)


def _batch(rng: random.Random, number: int, minute: int) -> Batch:
    sessions = [
        f"long {rng.randrange(200)}" if rng.random() < 0.7 else f"short {rng.randrange(4000)}"
        for _ in range(rng.choice((1, 3, 30)))
    ]
    events = [
        CacheEvent(rng.choice(sessions), source, kind, name, duration)
        for source, kind, name, duration in zip(
            rng.choices(SOURCES, k=A_BATCH),
            rng.choices(KINDS, (1, 2), k=A_BATCH),
            rng.choices(HASHES, k=A_BATCH),
            rng.choices(DURATIONS, WEIGHTS, k=A_BATCH),
            strict=True,
        )
    ]
    return Batch(
        team=rng.choice((TEAM_ID, TEAM_ID, OTHER_TEAM_ID)),
        token=rng.choice(TOKEN_IDS),
        received_at=START + minute * 60_000 + rng.randrange(1000),
        ci=rng.choice((None, "GITHUB_ACTIONS", "JENKINS")),
        interactive=rng.choice((None, True, False)),
        agent=rng.choice((None, "claude-code")),
        digest=f"{number}",
        events=events,
    )


def _later(batch: Batch) -> Batch:
    """The same again, half a minute later."""
    return msgspec.structs.replace(batch, received_at=batch.received_at + 30_000)


def parts(batches: Sequence[Batch], size: int) -> Iterator[Batch]:
    """The same events in batches of that many, each by its number as much itself as before."""
    for batch in batches:
        for first in range(0, len(batch.events), size):
            some = batch.events[first : first + size]
            digest = f"{batch.digest} from {first}"
            yield msgspec.structs.replace(batch, digest=digest, events=some)


def cut(batches: Sequence[Batch], many: int) -> list[Sequence[Batch]]:
    """Into so many segments."""
    size = -(-len(batches) // many)
    return [batches[first : first + size] for first in range(0, len(batches), size)]


@cache
def truth() -> Runs:
    """What the million comes to."""
    return runs_of(million(), ARTIFACT_DURATIONS)


def in_order() -> list[Sequence[Batch]]:
    return cut(list(parts(million(), 100)), 10)


def backwards() -> list[Sequence[Batch]]:
    return cut(million()[::-1], 7)


def shuffled() -> list[Sequence[Batch]]:
    batches = list(parts(million(), 250))
    random.Random(11).shuffle(batches)
    return cut(batches, 5)


@pytest.fixture(scope="module", autouse=True)
def _artifacts(analytics: AnalyticsFixture) -> None:
    analytics.add_artifacts(ARTIFACT_DURATIONS)


def assert_truth(event_store: EventStoreFixture, runs: Runs) -> None:
    """All that reports tell of runs is true, and of some their tasks."""
    for team_id in (TEAM_ID, OTHER_TEAM_ID):
        query = ReportQuery(team_id, PERIOD)
        assert_runs(event_store, runs, query, "newest")
        assert_summary(event_store, runs, query)
        assert_timeseries(event_store, runs, query, "day", "Europe/Berlin")
        for by in GROUPS:
            assert_breakdown(event_store, runs, query, by)
    some = sorted(runs)[:: max(1, len(runs) // 12)]
    assert_run_details(event_store, {key: runs[key] for key in some}, ARTIFACT_DURATIONS)


def assert_totals(changes: Sequence[Sequence[int]], runs: Runs) -> None:
    """What loading said, segment by segment, that it changed, comes to the truth."""
    events, *totals = (sum(column) for column in zip(*changes, strict=True))
    told = totals_of(runs.values())
    assert events == told.events
    assert totals == [
        told.runs, told.tasks, told.local_hits, told.remote_hits, told.local_ms, told.remote_ms,
    ]  # fmt: skip


@pytest.mark.parametrize("arrange", [in_order, backwards, shuffled])
def test_reports_match_reference_for_a_million_events_in_any_order(
    analytics: AnalyticsFixture, arrange: Callable[[], list[Sequence[Batch]]]
) -> None:
    with analytics.event_store() as event_store:
        loaded = [event_store.load(str(number), some) for number, some in enumerate(arrange())]
        assert_truth(event_store, truth())
    assert_totals([one.totals for one in loaded], truth())
    assert sum(one.events + one.duplicate_events for one in loaded) == EVENTS


def test_reports_match_reference_for_batches_of_one_event(analytics: AnalyticsFixture) -> None:
    some = million()[:100]
    alone = list(parts(some, 1))
    random.Random(13).shuffle(alone)
    with analytics.event_store() as event_store:
        loaded = [event_store.load(str(number), few) for number, few in enumerate(cut(alone, 3))]
        assert_truth(event_store, runs_of(some, ARTIFACT_DURATIONS))
    assert_totals([one.totals for one in loaded], runs_of(some, ARTIFACT_DURATIONS))


def test_million_events_cover_duplicates_anomalies_and_long_runs() -> None:
    told = totals_of(truth().values())
    assert told.runs > 3000
    assert told.duplicates > 200_000
    assert told.anomalies > 10_000
    assert 0.2 < told.local_hits / told.tasks < 0.8
    assert 0.05 < told.remote_hits / told.tasks < 0.8
    assert any(run.ended_at - run.started_at > SPAN_MS / 2 for run in truth().values())
