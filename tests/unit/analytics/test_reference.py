"""Reports equal the reference for any events, in any order and any segments."""

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
    FILTER_CASES,
    GROUPS,
    RANKS,
    ZONES,
    assert_breakdown,
    assert_run_details,
    assert_runs,
    assert_summary,
    assert_timeseries,
    assert_uses,
)


@pytest.fixture(scope="module", autouse=True)
def _artifacts(analytics: AnalyticsFixture) -> None:
    """Store artifacts with some of the hashes."""
    analytics.add_artifacts(ARTIFACT_DURATIONS)


def full_period(sent: list[Batch]) -> Period:
    """Return the period of all batches."""
    return Period(sent[0].received_at, sent[-1].received_at + 1)


@st.composite
def periods(draw: st.DrawFn, sent: list[Batch]) -> Period:
    """The period of all batches, or a later part of it."""
    span = full_period(sent)
    from_ms = draw(st.one_of(st.just(span.from_ms), st.integers(span.from_ms, span.to_ms - 1)))
    return Period(from_ms, span.to_ms)


@settings(max_examples=25)
@given(st.data(), batches())
def test_reports_match_reference_for_any_events(
    analytics: AnalyticsFixture, data: st.DataObject, sent: list[Batch]
) -> None:
    runs = runs_of(sent, ARTIFACT_DURATIONS)
    query = ReportQuery(
        data.draw(st.sampled_from((TEAM_ID, OTHER_TEAM_ID))), data.draw(periods(sent))
    )
    with analytics.event_store() as event_store:
        event_store.load_all(data.draw(splits(sent), label="segments"))
        assert_runs(event_store, runs, query, data.draw(st.sampled_from(sorted(RANKS))))
        assert_summary(event_store, runs, query)
        assert_breakdown(event_store, runs, query, data.draw(st.sampled_from(sorted(GROUPS))))
        bucket, zone = data.draw(st.sampled_from(BUCKETS)), data.draw(st.sampled_from(ZONES))
        assert_timeseries(event_store, runs, query, bucket, zone)
        assert_run_details(event_store, runs, ARTIFACT_DURATIONS)


@settings(max_examples=20)
@given(st.data(), batches())
def test_artifact_uses_match_reference_for_any_events(
    analytics: AnalyticsFixture, data: st.DataObject, sent: list[Batch]
) -> None:
    query = ReportQuery(
        data.draw(st.sampled_from((TEAM_ID, OTHER_TEAM_ID))), data.draw(periods(sent))
    )
    with analytics.event_store() as event_store:
        event_store.load_all(data.draw(splits(sent), label="segments"))
        assert_uses(event_store, sent, ARTIFACT_DURATIONS, query, HASHES)


@settings(max_examples=8)
@given(st.data(), batches())
def test_filters_select_runs_by_their_first_batch(
    analytics: AnalyticsFixture, data: st.DataObject, sent: list[Batch]
) -> None:
    runs = runs_of(sent, ARTIFACT_DURATIONS)
    period = data.draw(periods(sent))
    with analytics.event_store() as event_store:
        event_store.load_all(data.draw(splits(sent), label="segments"))
        for filters, matches in FILTER_CASES:
            assert_summary(
                event_store, runs, ReportQuery(TEAM_ID, period, Filters(**filters)), matches
            )


@settings(max_examples=25)
@given(st.data(), batches())
def test_totals_do_not_depend_on_order_or_segments_or_crashes(
    analytics: AnalyticsFixture, data: st.DataObject, sent: list[Batch]
) -> None:
    runs = runs_of(sent, ARTIFACT_DURATIONS)
    no_duplicates = not split_duplicates(sent)[1]
    segments = data.draw(splits(data.draw(st.permutations(sent))), label="segments")
    reloaded = data.draw(st.lists(st.integers(0, len(segments) - 1), max_size=2), label="reloaded")
    with analytics.event_store() as event_store:
        event_store.load_all(segments)
        event_store.reopen()
        for number in reloaded:
            assert event_store.load(f"segment {number}", segments[number]).events == 0
        for team_id in (TEAM_ID, OTHER_TEAM_ID):
            query = ReportQuery(team_id, full_period(sent))
            assert_runs(event_store, runs, query, "newest", recorded=no_duplicates)
            if no_duplicates:
                assert_summary(event_store, runs, query)
        assert_run_details(event_store, runs, ARTIFACT_DURATIONS, recorded=no_duplicates)
