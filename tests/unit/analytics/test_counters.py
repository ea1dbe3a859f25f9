"""The counters of /metrics: they never fall, and catch up with the truth."""

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


class Scraped:
    """A store whose loads are counted, and what /metrics tells of them."""

    def __init__(self, event_store: EventStoreFixture) -> None:
        self._event_store = event_store
        self._metrics = Metrics()
        self._loads = 0

    def load(self, *sent: Batch) -> None:
        self._loads += 1
        self._metrics.add_tasks(self._event_store.load(f"{self._loads}", sent).totals)

    def task(self, session: str, *kinds: EventKind, ms: float = 0.0) -> None:
        """Events of a session's only task."""
        events = [CacheEvent(session, source, kind, "h", ms) for source, kind in kinds]
        client = (None, None, None)
        at_ms = 1_800_000_000_000 + self._loads
        self.load(Batch(TEAM_ID, TEAM_TOKEN, at_ms, *client, f"{self._loads}", events))

    def tell(self) -> tuple[float, ...]:
        """Runs, local hits, remote hits, misses, seconds saved locally and remotely."""
        told = {}
        for line in self._metrics.render().decode().splitlines():
            name, _, value = line.rpartition(" ")
            told[name] = value
        return tuple(float(told[f"hitrate_{name}"]) for name in NAMES)


NAMES = (
    "runs_total",
    'tasks_total{outcome="local_hit"}',
    'tasks_total{outcome="remote_hit"}',
    'tasks_total{outcome="miss"}',
    'time_saved_seconds_total{source="local"}',
    'time_saved_seconds_total{source="remote"}',
)


def truth(sent: list[Batch]) -> tuple[float, ...]:
    """What all batches so far come to."""
    all_in_all = totals_of(runs_of(sent, ARTIFACT_DURATIONS).values())
    return (
        all_in_all.runs,
        all_in_all.local_hits,
        all_in_all.remote_hits,
        all_in_all.misses,
        all_in_all.local_ms / 1000,
        all_in_all.remote_ms / 1000,
    )


@pytest.fixture
def scraped(analytics: AnalyticsFixture) -> Iterator[Scraped]:
    with analytics.event_store() as event_store:
        yield Scraped(event_store)


@given(st.lists(st.integers(-5, 5)))
def test_a_total_that_falls_is_shown_at_its_highest(changes: list[int]) -> None:
    rising, totals, shown = HighWaterCounter(), [0], [0]
    for change in changes:
        rising.add(change)
        totals.append(totals[-1] + change)
        shown.append(rising.value)
        assert rising.value == max(totals)
    assert shown == sorted(shown)


def test_a_miss_that_becomes_a_hit_is_made_up_for_by_the_next_miss(scraped: Scraped) -> None:
    scraped.task("one", LOCAL_MISS)
    assert scraped.tell() == (1, 0, 0, 1, 0, 0)
    scraped.task("one", REMOTE_HIT, ms=1500)
    assert scraped.tell() == (1, 0, 1, 1, 0, 1.5)
    scraped.task("one", LOCAL_HIT, ms=500)
    assert scraped.tell() == (1, 1, 1, 1, 0.5, 1.5)
    scraped.task("two", LOCAL_MISS)
    assert scraped.tell() == (2, 1, 1, 1, 0.5, 1.5)
    scraped.task("three", LOCAL_MISS)
    assert scraped.tell() == (3, 1, 1, 2, 0.5, 1.5)


@settings(max_examples=8)
@given(batches())
def test_counters_are_the_highest_that_was_ever_true(
    analytics: AnalyticsFixture, sent: list[Batch]
) -> None:
    analytics.add_artifacts(ARTIFACT_DURATIONS)
    so_far: list[Batch] = []
    with analytics.event_store() as event_store:
        scraped = Scraped(event_store)
        highest = truth([])
        for batch in sent:
            so_far.append(batch)
            scraped.load(batch)
            highest = tuple(map(max, highest, truth(so_far)))
            assert scraped.tell() == pytest.approx(highest)
