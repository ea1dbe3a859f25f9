"""Task counters of /metrics: they never fall, and catch up with the true totals."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.events.wire import Batch, CacheEvent
from hitrate.metrics import HighWaterCounter, Metrics
from tests.support.analytics_fixture import TEAM_ID, TEAM_TOKEN, AnalyticsFixture, EventStoreFixture
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, EventKind
from tests.support.event_strategies import ARTIFACT_DURATIONS, batches
from tests.support.reference_analytics import runs_of, totals_of


class MetricsHarness:
    """An event store, and the metrics of what was loaded into it."""

    def __init__(self, event_store: EventStoreFixture) -> None:
        self._event_store = event_store
        self._metrics = Metrics()
        self._loads = 0

    def load(self, *sent: Batch) -> None:
        self._loads += 1
        self._metrics.add_tasks(self._event_store.load(f"{self._loads}", sent).totals)

    def task(self, session: str, *kinds: EventKind, ms: float = 0.0) -> None:
        """Load events of the only task of a session."""
        events = [CacheEvent(session, source, kind, "h", ms) for source, kind in kinds]
        client = (None, None, None)
        at_ms = 1_800_000_000_000 + self._loads
        self.load(Batch(TEAM_ID, TEAM_TOKEN, at_ms, *client, f"{self._loads}", events))

    def counters(self) -> tuple[float, ...]:
        """Return the counters of NAMES from the text of /metrics."""
        values = {}
        for line in self._metrics.render().decode().splitlines():
            name, _, value = line.rpartition(" ")
            values[name] = value
        return tuple(float(values[f"hitrate_{name}"]) for name in NAMES)


NAMES = (
    "runs_total",
    'tasks_total{outcome="local_hit"}',
    'tasks_total{outcome="remote_hit"}',
    'tasks_total{outcome="miss"}',
    'time_saved_seconds_total{source="local"}',
    'time_saved_seconds_total{source="remote"}',
)


def true_totals(sent: list[Batch]) -> tuple[float, ...]:
    """Compute the values of NAMES from all batches."""
    totals = totals_of(runs_of(sent, ARTIFACT_DURATIONS).values())
    return (
        totals.runs,
        totals.local_hits,
        totals.remote_hits,
        totals.misses,
        totals.local_ms / 1000,
        totals.remote_ms / 1000,
    )


@pytest.fixture
def harness(analytics: AnalyticsFixture) -> Iterator[MetricsHarness]:
    with analytics.event_store() as event_store:
        yield MetricsHarness(event_store)


@given(st.lists(st.integers(-5, 5)))
def test_high_water_counter_reports_the_highest_total(changes: list[int]) -> None:
    counter, totals, reported = HighWaterCounter(), [0], [0]
    for change in changes:
        counter.add(change)
        totals.append(totals[-1] + change)
        reported.append(counter.value)
        assert counter.value == max(totals)
    assert reported == sorted(reported)


def test_miss_counter_pauses_after_a_miss_becomes_a_hit(harness: MetricsHarness) -> None:
    harness.task("one", LOCAL_MISS)
    assert harness.counters() == (1, 0, 0, 1, 0, 0)
    harness.task("one", REMOTE_HIT, ms=1500)
    assert harness.counters() == (1, 0, 1, 1, 0, 1.5)
    harness.task("one", LOCAL_HIT, ms=500)
    assert harness.counters() == (1, 1, 1, 1, 0.5, 1.5)
    harness.task("two", LOCAL_MISS)
    assert harness.counters() == (2, 1, 1, 1, 0.5, 1.5)
    harness.task("three", LOCAL_MISS)
    assert harness.counters() == (3, 1, 1, 2, 0.5, 1.5)


@settings(max_examples=8)
@given(batches())
def test_counters_report_the_highest_true_totals(
    analytics: AnalyticsFixture, sent: list[Batch]
) -> None:
    analytics.add_artifacts(ARTIFACT_DURATIONS)
    loaded_batches: list[Batch] = []
    with analytics.event_store() as event_store:
        harness = MetricsHarness(event_store)
        highest = true_totals([])
        for batch in sent:
            loaded_batches.append(batch)
            harness.load(batch)
            highest = tuple(map(max, highest, true_totals(loaded_batches)))
            assert harness.counters() == pytest.approx(highest)
