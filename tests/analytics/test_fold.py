"""What reports tell of any events, however they came, is what the reference finds."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.analytics.filters import Scope
from hitrate.analytics.period import BUCKETS, Period
from hitrate.events.wire import Batch
from tests.analytics.books import OTHERS, OURS, Books
from tests.analytics.compare import (
    ZONES,
    assert_details,
    assert_filtered,
    assert_groups,
    assert_measures,
    assert_runs,
    assert_series,
    assert_uses,
    milliseconds,
)
from tests.analytics.reference import fold
from tests.analytics.strategies import MADE_MS, batches, splits


@pytest.fixture(scope="module", autouse=True)
def artifacts(books: Books) -> Iterator[None]:
    """Some of the hashes are those of stored artifacts."""
    books.add_artifacts(MADE_MS)
    yield


def whole(came: list[Batch]) -> Period:
    """All that came."""
    return Period(came[0].received_at, came[-1].received_at + 1)


@settings(max_examples=60)
@given(st.data(), batches())
def test_every_report_tells_what_the_events_come_to(
    books: Books, data: st.DataObject, came: list[Batch]
) -> None:
    runs = fold(came, MADE_MS)
    everything = whole(came)
    moments = st.integers(everything.from_ms, everything.to_ms - 1)
    begin = data.draw(moments, label="begin")
    period = data.draw(st.sampled_from((everything, Period(begin, everything.to_ms))))
    bucket, zone = data.draw(st.tuples(st.sampled_from(BUCKETS), st.sampled_from(ZONES)))
    with books.ledger() as ledger:
        ledger.load_all(data.draw(splits(came), label="segments"))
        for team_id in (OURS, OTHERS):
            scope = Scope(team_id, period)
            assert_runs(ledger, runs, team_id, period)
            assert_measures(ledger, runs, scope)
            assert_filtered(ledger, runs, team_id, period)
            assert_series(ledger, runs, scope, bucket, zone)
            assert_groups(ledger, runs, scope)
            assert_uses(ledger, runs, came, MADE_MS, scope)
        assert_details(ledger, runs, MADE_MS)
