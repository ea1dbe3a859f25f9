"""Reports on no runs or few runs."""

from zoneinfo import ZoneInfo

import pytest

from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.period import BUCKETS, Period
from hitrate.analytics.reports import NO_VALUE_LABELS
from hitrate.api_schemas import RunInfo
from hitrate.errors import NotFound
from hitrate.events.wire import Batch, CacheEvent
from tests.support.analytics_fixture import (
    TEAM_ID,
    UNKNOWN_TOKEN,
    AnalyticsFixture,
    EventStoreFixture,
    team,
)
from tests.support.report_comparison import GROUPS

START_MS = 1_800_000_000_000
ALL_TIME = ReportQuery(TEAM_ID, Period(0, 4_102_444_800_000))
ONE_DAY = ReportQuery(TEAM_ID, Period(START_MS, START_MS + 86_400_000))


def batch(at_ms: int, session: str, *names: str, token: str = UNKNOWN_TOKEN) -> Batch:
    """Local hits of a run whose client reported nothing."""
    events = [CacheEvent(session, "LOCAL", "HIT", name, 5.0) for name in names]
    return Batch(TEAM_ID, token, at_ms, None, None, None, f"{session} {at_ms}", events)


@pytest.mark.parametrize("query", [ALL_TIME, ONE_DAY])
def test_reports_are_empty_for_a_team_without_events(
    analytics: AnalyticsFixture, query: ReportQuery
) -> None:
    with analytics.event_store() as event_store:
        summary = event_store.reports.summary(query)
        assert (summary.runs, summary.tasks, summary.hit_rate) == (0, 0, None)
        assert event_store.reports.runs(query, "newest", 10, 0).runs == []
        for by in GROUPS:
            assert event_store.reports.breakdown(query, by).groups == []
        assert (
            event_store.artifact_reports.artifacts(query, "hits", 10, 0, unused=False).artifacts
            == []
        )
        with pytest.raises(NotFound):
            event_store.reports.run(team(TEAM_ID), "none")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_timeseries_includes_buckets_without_runs(analytics: AnalyticsFixture, bucket: str) -> None:
    with analytics.event_store() as event_store:
        buckets = event_store.reports.timeseries(ONE_DAY, bucket, ZoneInfo("UTC")).buckets
    assert {(one.runs, one.hit_rate, one.hit_rate_quartiles.p50) for one in buckets} == {
        (0, None, None)
    }
    assert (buckets[0].from_, buckets[-1].to) == (
        "2027-01-15T08:00:00.000Z",
        "2027-01-16T08:00:00.000Z",
    )


@pytest.mark.parametrize("by", sorted(GROUPS))
def test_breakdown_has_a_group_for_runs_without_a_value(
    analytics: AnalyticsFixture, by: str
) -> None:
    with analytics.event_store() as event_store:
        event_store.load("one", [batch(START_MS, "s", "h")])
        [group] = event_store.reports.breakdown(ALL_TIME, by).groups
    key = UNKNOWN_TOKEN if by == "token" else None
    assert (group.key, group.label) == (key, key or NO_VALUE_LABELS[by])
    assert (group.runs, group.hit_rate_quartiles.p25) == (1, 1.0)


def test_run_belongs_to_the_period_of_its_first_event(analytics: AnalyticsFixture) -> None:
    last_ms, first_ms = ONE_DAY.period.to_ms - 1, ONE_DAY.period.from_ms
    with analytics.event_store() as event_store:
        event_store.load("one", [batch(first_ms - 1, "before", "h"), batch(first_ms, "first", "h")])
        event_store.load("two", [batch(last_ms, "last", "h"), batch(last_ms + 1, "after", "h")])
        event_store.load(
            "three", [batch(last_ms + 2, "last", "h2"), batch(first_ms, "before", "h2")]
        )
        assert sessions(event_store, ONE_DAY) == ["last", "first"]
        assert event_store.reports.summary(ONE_DAY).tasks == 3
        event_store.load("late", [batch(last_ms, "after", "h2")])
        assert sessions(event_store, ONE_DAY) == ["after", "last", "first"]


def sessions(event_store: EventStoreFixture, query: ReportQuery) -> list[str]:
    return [run.session_id for run in event_store.reports.runs(query, "newest", 100, 0).runs]


@pytest.mark.parametrize("order", ["newest", "best", "worst", "saved", "largest"])
def test_pages_of_runs_join_without_gaps(analytics: AnalyticsFixture, order: str) -> None:
    with analytics.event_store() as event_store:
        for number in range(7):
            names = [f"{n}" for n in range(number % 3 + 1)]
            event_store.load(f"{number}", [batch(START_MS, f"s{number}", *names)])
        all_runs = event_store.reports.runs(ALL_TIME, order, 100, 0).runs
        paged: list[RunInfo] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = event_store.reports.runs(ALL_TIME, order, 3, int(cursor))
            paged += page.runs
            cursor = page.next_cursor
        assert paged == all_runs
        assert len(all_runs) == 7
