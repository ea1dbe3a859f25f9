"""What reports tell of any events, however they came, is what the reference finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.analytics.filters import Filters, Scope
from hitrate.analytics.period import BUCKETS, Period
from hitrate.events.wire import Batch
from tests.support.analytics_fixture import OTHERS, OURS, Books
from tests.support.event_strategies import HASHES, MADE_MS, batches, splits
from tests.support.reference_analytics import fold, sift
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
def _artifacts(books: Books) -> None:
    """Some of the hashes are those of stored artifacts."""
    books.add_artifacts(MADE_MS)


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
    books: Books, data: st.DataObject, came: list[Batch]
) -> None:
    runs = fold(came, MADE_MS)
    scope = Scope(data.draw(st.sampled_from((OURS, OTHERS))), data.draw(periods(came)))
    with books.ledger() as ledger:
        ledger.load_all(data.draw(splits(came), label="segments"))
        assert_runs(ledger, runs, scope, data.draw(st.sampled_from(sorted(RANKS))))
        assert_measures(ledger, runs, scope)
        assert_groups(ledger, runs, scope, data.draw(st.sampled_from(sorted(GROUPS))))
        bucket, zone = data.draw(st.sampled_from(BUCKETS)), data.draw(st.sampled_from(ZONES))
        assert_series(ledger, runs, scope, bucket, zone)
        assert_details(ledger, runs, MADE_MS)


@settings(max_examples=20)
@given(st.data(), batches())
def test_artifacts_tell_who_used_them(books: Books, data: st.DataObject, came: list[Batch]) -> None:
    scope = Scope(data.draw(st.sampled_from((OURS, OTHERS))), data.draw(periods(came)))
    with books.ledger() as ledger:
        ledger.load_all(data.draw(splits(came), label="segments"))
        assert_uses(ledger, came, MADE_MS, scope, HASHES)


@settings(max_examples=8)
@given(st.data(), batches())
def test_filters_choose_runs_by_what_they_said_first(
    books: Books, data: st.DataObject, came: list[Batch]
) -> None:
    runs = fold(came, MADE_MS)
    period = data.draw(periods(came))
    with books.ledger() as ledger:
        ledger.load_all(data.draw(splits(came), label="segments"))
        for filters, matches in FILTERED:
            assert_measures(ledger, runs, Scope(OURS, period, Filters(**filters)), matches)


@settings(max_examples=25)
@given(st.data(), batches())
def test_neither_order_nor_split_nor_a_crash_between_changes_what_events_come_to(
    books: Books, data: st.DataObject, came: list[Batch]
) -> None:
    runs = fold(came, MADE_MS)
    nothing_again = not sift(came)[1]
    segments = data.draw(splits(data.draw(st.permutations(came))), label="segments")
    again = data.draw(st.lists(st.integers(0, len(segments) - 1), max_size=2), label="again")
    with books.ledger() as ledger:
        ledger.load_all(segments)
        ledger.reopen()
        for number in again:
            assert ledger.load(f"segment {number}", segments[number]).events == 0
        for team_id in (OURS, OTHERS):
            scope = Scope(team_id, whole(came))
            assert_runs(ledger, runs, scope, "newest", recorded=nothing_again)
            if nothing_again:
                assert_measures(ledger, runs, scope)
        assert_details(ledger, runs, MADE_MS, recorded=nothing_again)
