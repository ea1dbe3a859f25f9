"""Periods, and buckets in time zones, including clock changes."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitrate.analytics.period import (
    BUCKETS,
    MAX_BUCKETS,
    Period,
    bucket_starts,
    parse_period,
    parse_time_zone,
)
from hitrate.errors import BadRequest

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"
KATHMANDU = "Asia/Kathmandu"
SANTIAGO = "America/Santiago"  # has no midnight on the day when clocks go forward
ZONES = ("UTC", BERLIN, NEW_YORK, LORD_HOWE, KATHMANDU, SANTIAGO, "America/St_Johns")


def at(text: str, zone: str = "UTC") -> int:
    """Return a local time in UTC milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def starts(start: str, end: str, bucket: str, zone: str) -> list[str]:
    """Return the starts of buckets in local time, with the UTC offset."""
    period = Period(at(start, zone), at(end, zone))
    starts_ms = bucket_starts(period, bucket, ZoneInfo(zone))
    local_times = (datetime.fromtimestamp(start / 1000, ZoneInfo(zone)) for start in starts_ms)
    return [f"{local:%d %H:%M%z}" for local in local_times]


def lengths(start: str, end: str, bucket: str, zone: str) -> list[float]:
    """Return the length of each bucket in hours."""
    period = Period(at(start, zone), at(end, zone))
    starts_ms = [*bucket_starts(period, bucket, ZoneInfo(zone)), period.to_ms]
    return [(stop - start) / HOUR_MS for start, stop in itertools.pairwise(starts_ms)]


LABELS: dict[str, Callable[[datetime], Any]] = {
    "hour": lambda local: (local.date(), local.hour, local.utcoffset()),
    "day": lambda local: local.date(),
    "week": lambda local: local.date() - timedelta(days=local.weekday()),
    "month": lambda local: (local.year, local.month),
}
"""A label that is the same for all times in a bucket and for no others, by bucket."""


@example(LORD_HOWE, "hour", at("2026-04-04T12:00"), 9 * HOUR_MS)
@example(LORD_HOWE, "hour", at("2026-10-03T12:00"), 9 * HOUR_MS)
@example(BERLIN, "hour", at("2026-10-24T22:30"), 9 * HOUR_MS + 1)
@example(BERLIN, "hour", at("2026-03-28T22:30"), 9 * HOUR_MS + 1)
@example(NEW_YORK, "day", at("2026-10-31T22:30"), 5 * DAY_MS)
@example(SANTIAGO, "day", at("2026-09-04T22:30"), 5 * DAY_MS)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(BUCKETS),
    st.integers(at("2020-01-01"), at("2040-01-01")),
    st.integers(1, 50 * DAY_MS),
)
def test_buckets_tile_any_period_in_any_time_zone(
    zone: str, bucket: str, from_ms: int, length_ms: int
) -> None:
    period = Period(from_ms, from_ms + length_ms)
    starts_ms = bucket_starts(period, bucket, ZoneInfo(zone))
    assert starts_ms[0] == period.from_ms
    assert starts_ms == sorted(set(starts_ms))
    assert starts_ms[-1] < period.to_ms
    label = LABELS[bucket]
    quarters = range(from_ms, period.to_ms, HOUR_MS // 4)
    labels = [label(datetime.fromtimestamp(ms / 1000, ZoneInfo(zone))) for ms in quarters]
    start_labels = [label(datetime.fromtimestamp(ms / 1000, ZoneInfo(zone))) for ms in starts_ms]
    assert len(set(start_labels)) == len(start_labels)
    assert set(labels) <= set(start_labels)
    for start, before in zip(starts_ms[1:], start_labels, strict=False):
        assert label(datetime.fromtimestamp(start / 1000 - 0.001, ZoneInfo(zone))) == before


@pytest.mark.parametrize(
    ("start", "end", "zone", "hours"),
    [
        ("2026-03-28", "2026-03-31", BERLIN, [24, 23, 24]),
        ("2026-10-24", "2026-10-27", BERLIN, [24, 25, 24]),
        ("2026-03-07", "2026-03-10", NEW_YORK, [24, 23, 24]),
        ("2026-10-31", "2026-11-03", NEW_YORK, [24, 25, 24]),
        ("2026-04-04", "2026-04-07", LORD_HOWE, [24, 24.5, 24]),
        ("2026-10-03", "2026-10-06", LORD_HOWE, [24, 23.5, 24]),
        ("2026-10-03", "2026-10-06", KATHMANDU, [24, 24, 24]),
        ("2026-09-05", "2026-09-08", SANTIAGO, [24, 23, 24]),
    ],
)
def test_day_length_follows_clock_changes(
    start: str, end: str, zone: str, hours: list[float]
) -> None:
    assert lengths(start, end, "day", zone) == hours


def test_skipped_hour_has_no_bucket() -> None:
    assert starts("2026-03-29T01:00", "2026-03-29T05:00", "hour", BERLIN) == [
        "29 01:00+0100", "29 03:00+0200", "29 04:00+0200",
    ]  # fmt: skip


def test_repeated_hour_has_two_buckets() -> None:
    assert starts("2026-10-25T01:00", "2026-10-25T04:00", "hour", BERLIN) == [
        "25 01:00+0200", "25 02:00+0200", "25 02:00+0100", "25 03:00+0100",
    ]  # fmt: skip


def test_hours_are_full_again_after_a_half_hour_clock_change() -> None:
    assert starts("2026-04-05T01:00", "2026-04-05T04:00", "hour", LORD_HOWE) == [
        "05 01:00+1100", "05 01:30+1030", "05 02:00+1030", "05 03:00+1030",
    ]  # fmt: skip
    assert starts("2026-10-04T01:00", "2026-10-04T05:00", "hour", LORD_HOWE) == [
        "04 01:00+1030", "04 02:30+1100", "04 03:00+1100", "04 04:00+1100",
    ]  # fmt: skip


def test_hours_begin_in_local_time_in_a_zone_with_a_fractional_offset() -> None:
    assert starts("2026-05-01T10:20", "2026-05-01T12:30", "hour", KATHMANDU) == [
        "01 10:20+0545", "01 11:00+0545", "01 12:00+0545",
    ]  # fmt: skip


def test_weeks_begin_on_mondays_and_months_on_the_first() -> None:
    assert starts("2026-10-22T10:00", "2026-11-04", "week", BERLIN) == [
        "22 10:00+0200", "26 00:00+0100", "02 00:00+0100",
    ]  # fmt: skip
    assert starts("2026-01-31T10:00", "2026-04-02", "month", NEW_YORK) == [
        "31 10:00-0500", "01 00:00-0500", "01 00:00-0500", "01 00:00-0400",
    ]  # fmt: skip


def test_period_shorter_than_a_bucket_has_one_bucket() -> None:
    period = Period(NOW_MS, NOW_MS + 1)
    assert bucket_starts(period, "month", UTC) == [NOW_MS]


def test_bucket_starts_rejects_more_than_max_buckets() -> None:
    longest = Period(0, MAX_BUCKETS * HOUR_MS)
    assert len(bucket_starts(longest, "hour", UTC)) == MAX_BUCKETS
    with pytest.raises(BadRequest, match="longer bucket"):
        bucket_starts(Period(0, longest.to_ms + 1), "hour", UTC)


def test_default_period_is_30_days_and_includes_the_current_millisecond() -> None:
    for missing in (None, ""):
        assert parse_period(missing, missing, NOW_MS) == Period(NOW_MS - 30 * DAY_MS, NOW_MS + 1)


def test_parse_period_accepts_times_and_durations() -> None:
    assert parse_period("7d", "1d", NOW_MS) == Period(NOW_MS - 7 * DAY_MS, NOW_MS - DAY_MS)
    parsed = parse_period("2026-03-01", "2026-03-02T01:00+01:00", NOW_MS)
    assert parsed == Period(at("2026-03-01"), at("2026-03-02"))


@pytest.mark.parametrize(
    ("since", "until"),
    [("1d", "2d"), ("2026-01-02", "2026-01-01"), ("1d", "1d"), ("2027-02-01", None)],
)
def test_parse_period_rejects_since_that_is_not_before_until(since: str, until: str | None) -> None:
    with pytest.raises(BadRequest, match="not before until"):
        parse_period(since, until, NOW_MS)


@pytest.mark.parametrize("text", ["yesterday", "7 d", "-7d", "2026-13-01", "1e3"])
def test_parse_period_rejects_invalid_time(text: str) -> None:
    with pytest.raises(BadRequest, match="until is"):
        parse_period(None, text, NOW_MS)


def test_previous_period_has_equal_length_and_ends_where_this_one_begins() -> None:
    assert Period(100, 130).previous == Period(70, 100)


@pytest.mark.parametrize(
    "name", ["", "Nowhere", "Europe", "../UTC", "/etc/passwd", "a\0b", "x" * 5000, "é"]
)
def test_parse_time_zone_rejects_unknown_name(name: str) -> None:
    with pytest.raises(BadRequest, match="timezone is"):
        parse_time_zone(name)
