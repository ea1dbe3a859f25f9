"""Transfers: counted by minute and client, and included in reports."""

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import Period
from hitrate.api_schemas import Transfers
from hitrate.clock import ManualClock
from hitrate.events.transfers import MINUTE_MS, TransferCounter, TransferKey, TransferTotals
from tests.support.analytics_fixture import (
    OTHER_TEAM_ID,
    TEAM_ID,
    TEAM_TOKEN,
    USER_EMAIL,
    USER_TOKEN,
    AnalyticsFixture,
    EventStoreFixture,
)
from tests.support.report_comparison import GROUPS, milliseconds

START_MS = 1_800_000_000_000
NO_CLIENT = (None, None, None)
CI = ("GITHUB_ACTIONS", False, "claude-code")
HOUR_MS = 60 * MINUTE_MS
PERIOD = Period(START_MS, START_MS + 24 * HOUR_MS)


class TransferFixture:
    """A transfer counter on an event store; `flush` stores the counts."""

    def __init__(self, event_store: EventStoreFixture) -> None:
        self.event_store = event_store
        self.clock = ManualClock(START_MS)
        self.counter = TransferCounter(self.clock)

    def flush(self) -> None:
        self.event_store.duckdb.add_transfers(self.counter.drain())

    def transfers(self, team: str = TEAM_ID, **filters: str) -> tuple[int, int, int, int]:
        """Return the transfers in a summary."""
        query = ReportQuery(team, PERIOD, Filters(**filters))
        return as_tuple(self.event_store.reports.summary(query).artifacts)


def as_tuple(transfers: Transfers) -> tuple[int, int, int, int]:
    return (
        transfers.uploads,
        transfers.uploaded_bytes,
        transfers.downloads,
        transfers.downloaded_bytes,
    )


@pytest.fixture
def traffic(tmp_path: Path) -> Iterator[TransferFixture]:
    analytics = AnalyticsFixture(tmp_path)
    with analytics.event_store() as event_store:
        yield TransferFixture(event_store)
    analytics.close()


def test_counter_adds_up_transfers_of_one_minute_and_client(traffic: TransferFixture) -> None:
    for size, at_ms in ((10, START_MS), (20, START_MS + MINUTE_MS - 1)):
        traffic.clock.value_ms = at_ms
        traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, size)
        traffic.counter.downloaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, size + 1)
    traffic.clock.value_ms = START_MS + MINUTE_MS
    traffic.counter.downloaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 5)
    assert traffic.counter.drain() == {
        TransferKey(START_MS, TEAM_ID, TEAM_TOKEN, *NO_CLIENT): TransferTotals(2, 30, 2, 32),
        TransferKey(START_MS + MINUTE_MS, TEAM_ID, TEAM_TOKEN, *NO_CLIENT): TransferTotals(
            0, 0, 1, 5
        ),
    }
    assert traffic.counter.drain() == {}


def test_restored_transfers_are_added_to_later_ones(traffic: TransferFixture) -> None:
    traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 10)
    drained = traffic.counter.drain()
    traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 7)
    traffic.counter.restore(drained)
    assert traffic.counter.drain() == {
        TransferKey(START_MS, TEAM_ID, TEAM_TOKEN, *NO_CLIENT): TransferTotals(2, 17, 0, 0)
    }


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**40), st.integers(0, 3)), max_size=30))
def test_drain_and_restore_keep_totals_for_any_transfers(
    transfers: list[tuple[bool, int, int]],
) -> None:
    clock = ManualClock(START_MS)
    counter = TransferCounter(clock)
    for upload, size, pause in transfers:
        (counter.uploaded if upload else counter.downloaded)(TEAM_ID, TEAM_TOKEN, NO_CLIENT, size)
        if pause == 3:
            counter.restore(counter.drain())
        clock.advance(20 * pause)
    drained = list(counter.drain().values())
    sums = [sum(column) for column in zip(TransferTotals(0, 0, 0, 0), *drained, strict=True)]
    sizes = [[size for upload, size, _ in transfers if upload is up] for up in (True, False)]
    assert sums == [len(sizes[0]), sum(sizes[0]), len(sizes[1]), sum(sizes[1])]


def test_summary_has_transfers_of_the_period_and_the_previous_one(traffic: TransferFixture) -> None:
    traffic.clock.value_ms = START_MS - MINUTE_MS
    traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 1)
    traffic.clock.value_ms = START_MS
    traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 10)
    traffic.counter.downloaded(TEAM_ID, USER_TOKEN, CI, 100)
    traffic.counter.downloaded(OTHER_TEAM_ID, TEAM_TOKEN, NO_CLIENT, 1000)
    traffic.flush()
    traffic.clock.value_ms = PERIOD.to_ms
    traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 2)
    traffic.flush()
    assert traffic.transfers() == (1, 10, 1, 100)
    summary = traffic.event_store.reports.summary(ReportQuery(TEAM_ID, PERIOD))
    assert as_tuple(summary.previous.artifacts) == (1, 1, 0, 0)
    assert traffic.transfers(OTHER_TEAM_ID) == (0, 0, 1, 1000)
    assert traffic.transfers(ci="any") == (0, 0, 1, 100)


def test_transfers_of_one_minute_are_added_up_when_stored_twice(traffic: TransferFixture) -> None:
    for _ in range(2):
        traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, CI, 10)
        traffic.flush()
    traffic.flush()
    assert traffic.transfers() == (2, 20, 0, 0)


def test_timeseries_has_transfers_of_each_bucket(traffic: TransferFixture) -> None:
    for hour in (0, 0, 3):
        traffic.clock.value_ms = START_MS + hour * HOUR_MS + HOUR_MS - 1
        traffic.counter.downloaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 10)
    traffic.flush()
    series = traffic.event_store.reports.timeseries(
        ReportQuery(TEAM_ID, PERIOD), "hour", ZoneInfo("UTC")
    )
    transfers = {
        (milliseconds(bucket.from_) - START_MS) // HOUR_MS: as_tuple(bucket.artifacts)
        for bucket in series.buckets
    }
    assert transfers.pop(0) == (0, 0, 2, 20)
    assert transfers.pop(3) == (0, 0, 1, 10)
    assert set(transfers.values()) == {(0, 0, 0, 0)}
    assert len(transfers) == 22


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("ci", {None, "GITHUB_ACTIONS"}),
        ("interactive", {None, "false"}),
        ("agent", {None, "claude-code"}),
        ("token", {TEAM_TOKEN, USER_TOKEN}),
        ("user", {None, USER_EMAIL}),
    ],
)
def test_breakdown_has_transfers_of_groups_without_runs(
    traffic: TransferFixture, by: str, keys: set[str | None]
) -> None:
    assert by in GROUPS
    traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 10)
    traffic.counter.downloaded(TEAM_ID, USER_TOKEN, CI, 100)
    traffic.flush()
    groups = traffic.event_store.reports.breakdown(ReportQuery(TEAM_ID, PERIOD), by).groups
    assert {group.key for group in groups} == keys
    assert sorted(as_tuple(group.artifacts) for group in groups) == [(0, 0, 1, 100), (1, 10, 0, 0)]
    assert [group.runs for group in groups] == [0, 0]


def test_transfer_totals_do_not_overflow_above_2_61_bytes(traffic: TransferFixture) -> None:
    for _ in range(3):
        traffic.counter.uploaded(TEAM_ID, TEAM_TOKEN, NO_CLIENT, 2**60)
    traffic.flush()
    assert traffic.transfers() == (3, 3 * 2**60, 0, 0)
