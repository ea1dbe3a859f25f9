"""Formatting of numbers, sizes, durations and times on pages."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.pages import formatting
from hitrate.units import format_exact_size, parse_size

KATHMANDU, NEW_YORK, KIRITIMATI = map(
    ZoneInfo, ("Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati")
)
UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.7239, "72.4 %"), (0.0, "0.0 %"), (1.0, "100.0 %"), (1 / 3, "33.3 %"), (None, "–")],
)
def test_percent_has_one_decimal_and_none_is_a_dash(rate: float | None, text: str) -> None:
    assert formatting.percent(rate) == text


@pytest.mark.parametrize(
    ("current", "previous", "text"),
    [
        (0.724, 0.693, "up 3.1 points from 69.3 %"),
        (0.5, 0.75, "down 25.0 points from 75.0 %"),
        (0.5, 0.5, "unchanged at 50.0 %"),
        (0.50001, 0.5, "unchanged at 50.0 %"),
        (0.0, 0.001, "down 0.1 points from 0.1 %"),
        (0.5, None, "no tasks in the previous period"),
        (None, None, "no tasks in the previous period"),
        (None, 0.5, "was 50.0 %"),
    ],
)
def test_rate_change_is_in_percentage_points(
    current: float | None, previous: float | None, text: str
) -> None:
    assert formatting.rate_change(current, previous) == text


@given(st.floats(0, 1), st.floats(0, 1))
def test_rate_change_is_the_difference_of_the_displayed_percentages(
    current: float, previous: float
) -> None:
    text = formatting.rate_change(current, previous)
    percentages = [
        float(formatting.percent(rate).removesuffix(" %")) for rate in (current, previous)
    ]
    match = re.match(r"(up|down) ([\d.]+) points", text)
    points = float(match[2]) * (1 if match[1] == "up" else -1) if match else 0.0
    assert points == pytest.approx(percentages[0] - percentages[1], abs=0.001)


@pytest.mark.parametrize(
    ("current", "previous", "text"),
    [
        (814, 726, "up 12 % from 726"),
        (1, 4, "down 75 % from 4"),
        (0, 4, "down 100 % from 4"),
        (44, 4, "up 1,000 % from 4"),
        (1001, 1000, "up less than 1 % from 1,000"),
        (999, 1000, "down less than 1 % from 1,000"),
        (7, 7, "unchanged at 7"),
        (7, 0, "none in the previous period"),
        (0, 0, "none in the previous period"),
    ],
)
def test_amount_change_is_in_percent(current: int, previous: int, text: str) -> None:
    assert formatting.amount_change(current, previous, formatting.number) == text


def test_amount_change_formats_the_previous_amount() -> None:
    text = formatting.amount_change(7_200_000, 3_600_000, formatting.duration)
    assert text == "up 100 % from 1 h 00 min"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1500, "1.5 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_500_000, "1.5 MB"),
        (2 * 10**12, "2.0 TB"),
        (2**62, "4,611.7 PB"),
        (None, "–"),
    ],
)
def test_size_has_a_decimal_unit_and_none_is_a_dash(size: int | None, text: str) -> None:
    assert formatting.size(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1500, "1500"), (2000, "2 kB"), (200 * 10**6, "200 MB"), (5 * 10**15, "5000 TB")],
)
def test_exact_size_uses_a_unit_only_if_it_is_exact(size: int, text: str) -> None:
    assert format_exact_size(size) == text


@given(st.integers(0, 10**9), st.sampled_from([1, 10**3, 10**6]))
def test_exact_size_parses_to_the_same_number(number: int, unit: int) -> None:
    assert parse_size(format_exact_size(number * unit)) == number * unit


@pytest.mark.parametrize(
    ("duration_ms", "text", "axis_text"),
    [
        (0, "0 ms", "0"),
        (350, "350 ms", "350 ms"),
        (999.7, "1.0 s", "1.0 s"),
        (12_400, "12.4 s", "12.4 s"),
        (59_949, "59.9 s", "59.9 s"),
        (59_950, "1 min 00 s", "1 min"),
        (185_000, "3 min 05 s", "3 min 05 s"),
        (3_599_999, "1 h 00 min", "1 h"),
        (7_620_000, "2 h 07 min", "2 h 07 min"),
        (57_600_000, "16 h 00 min", "16 h"),
        (86_400_000, "1 d 00 h", "1 d"),
        (356_400_000, "4 d 03 h", "4 d 03 h"),
        (86_400_000 * 1234, "1,234 d 00 h", "1,234 d"),
        (None, "–", None),
    ],
)
def test_duration_has_up_to_two_units_and_axis_duration_drops_zeros(
    duration_ms: float | None, text: str, axis_text: str | None
) -> None:
    assert formatting.duration(duration_ms) == text
    if duration_ms is not None:
        assert formatting.axis_duration(duration_ms) == axis_text


@given(st.integers(0, 10**12))
def test_duration_is_accurate_to_its_last_unit(duration_ms: int) -> None:
    parts = re.findall(r"([\d.,]+) (\w+)", formatting.duration(duration_ms))
    text_ms = sum(float(number.replace(",", "")) * UNITS_MS[unit] for number, unit in parts)
    last_ms = UNITS_MS[parts[-1][1]]
    assert abs(text_ms - duration_ms) < (last_ms if len(parts) == 2 else last_ms / 10 + 1)


def test_times_are_in_the_time_zone() -> None:
    iso_time = "2026-11-21T20:33:01.250Z"
    assert formatting.time_text(iso_time, KATHMANDU) == "22 Nov 2026, 02:18"
    assert formatting.time_text(iso_time, NEW_YORK) == "21 Nov 2026, 15:33"
    assert formatting.exact_time_text(iso_time, NEW_YORK) == "2026-11-21 15:33:01 EST"
    assert formatting.exact_time_text(iso_time, KIRITIMATI) == "2026-11-22 10:33:01 +14"


@pytest.mark.parametrize(
    ("iso_time", "short"),
    [
        ("2026-11-21T00:00:00.000Z", "2026-11-21T00:00Z"),
        ("2026-11-21T20:33:01.000Z", "2026-11-21T20:33:01Z"),
        ("2026-11-21T20:33:00.001Z", "2026-11-21T20:33:00.001Z"),
    ],
)
def test_url_time_drops_zero_seconds_without_rounding(iso_time: str, short: str) -> None:
    assert formatting.url_time(iso_time) == short


@pytest.mark.parametrize(
    ("bucket", "name", "label"),
    [
        ("hour", "22 Nov, 02:15", "02:15"),
        ("day", "Sun 22 Nov 2026", "22 Nov"),
        ("week", "week of 22 Nov 2026", "22 Nov"),
        ("month", "November 2026", "Nov 2026"),
    ],
)
def test_bucket_name_and_label_depend_on_the_bucket(bucket: str, name: str, label: str) -> None:
    begins = "2026-11-21T20:30:00.000Z"
    assert formatting.bucket_name(begins, bucket, KATHMANDU) == name
    assert formatting.bucket_label(begins, bucket, KATHMANDU) == label
