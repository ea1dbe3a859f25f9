"""What reports tell of any events, however they came, is what the reference finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import BUCKETS, Period
from hitrate.events.wire import Batch
from tests.support.analytics_fixture import OTHER_TEAM_ID, TEAM_ID, AnalyticsFixture
from tests.support.event_strategies import ARTIFACT_DURATIONS, HASHES, batches, splits
from tests.support.reference_analytics import runs_of, split_duplicates
from tests.support.report_comparison import (
    FILTERED,
    GROUPS,
    RANKS,
    ZONES,
    assert_details,
    assert_groups,
    assert_measures,
    assert_runs,
    assert_series,
    assert_uses,
)


@pytest.fixture(scope="module", autouse=True)
def _artifacts(analytics: AnalyticsFixture) -> None:
    """Some of the hashes are those of stored artifacts."""
    analytics.add_artifacts(ARTIFACT_DURATIONS)


def whole(came: list[Batch]) -> Period:
    """All that came."""
    return Period(came[0].received_at, came[-1].received_at + 1)


@st.composite
def periods(draw: st.DrawFn, came: list[Batch]) -> Period:
    """All of it, or from some moment on."""
    span = whole(came)
    begin = draw(st.one_of(st.just(span.from_ms), st.integers(span.from_ms, span.to_ms - 1)))
    return Period(begin, span.to_ms)


@settings(max_examples=25)
@given(st.data(), batches())
def test_reports_tell_what_the_events_come_to(
    analytics: AnalyticsFixture, data: st.DataObject, came: list[Batch]
) -> None:
    runs = runs_of(came, ARTIFACT_DURATIONS)
    scope = ReportQuery(
        data.draw(st.sampled_from((TEAM_ID, OTHER_TEAM_ID))), data.draw(periods(came))
    )
    with analytics.event_store() as event_store:
        event_store.load_all(data.draw(splits(came), label="segments"))
        assert_runs(event_store, runs, scope, data.draw(st.sampled_from(sorted(RANKS))))
        assert_measures(event_store, runs, scope)
        assert_groups(event_store, runs, scope, data.draw(st.sampled_from(sorted(GROUPS))))
        bucket, zone = data.draw(st.sampled_from(BUCKETS)), data.draw(st.sampled_from(ZONES))
        assert_series(event_store, runs, scope, bucket, zone)
        assert_details(event_store, runs, ARTIFACT_DURATIONS)


@settings(max_examples=20)
@given(st.data(), batches())
def test_artifacts_tell_who_used_them(
    analytics: AnalyticsFixture, data: st.DataObject, came: list[Batch]
) -> None:
    scope = ReportQuery(
        data.draw(st.sampled_from((TEAM_ID, OTHER_TEAM_ID))), data.draw(periods(came))
    )
    with analytics.event_store() as event_store:
        event_store.load_all(data.draw(splits(came), label="segments"))
        assert_uses(event_store, came, ARTIFACT_DURATIONS, scope, HASHES)


@settings(max_examples=8)
@given(st.data(), batches())
def test_filters_choose_runs_by_what_they_said_first(
    analytics: AnalyticsFixture, data: st.DataObject, came: list[Batch]
) -> None:
    runs = runs_of(came, ARTIFACT_DURATIONS)
    period = data.draw(periods(came))
    with analytics.event_store() as event_store:
        event_store.load_all(data.draw(splits(came), label="segments"))
        for filters, matches in FILTERED:
            assert_measures(
                event_store, runs, ReportQuery(TEAM_ID, period, Filters(**filters)), matches
            )


@settings(max_examples=25)
@given(st.data(), batches())
def test_neither_order_nor_split_nor_a_crash_between_changes_what_events_come_to(
    analytics: AnalyticsFixture, data: st.DataObject, came: list[Batch]
) -> None:
    runs = runs_of(came, ARTIFACT_DURATIONS)
    nothing_again = not split_duplicates(came)[1]
    segments = data.draw(splits(data.draw(st.permutations(came))), label="segments")
    again = data.draw(st.lists(st.integers(0, len(segments) - 1), max_size=2), label="again")
    with analytics.event_store() as event_store:
        event_store.load_all(segments)
        event_store.reopen()
        for number in again:
            assert event_store.load(f"segment {number}", segments[number]).events == 0
        for team_id in (TEAM_ID, OTHER_TEAM_ID):
            scope = ReportQuery(team_id, whole(came))
            assert_runs(event_store, runs, scope, "newest", recorded=nothing_again)
            if nothing_again:
                assert_measures(event_store, runs, scope)
        assert_details(event_store, runs, ARTIFACT_DURATIONS, recorded=nothing_again)
