"""Numbers and moments in words: each with its unit, and none that says more than is known."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.pages import formatting
from hitrate.units import parse_size

KATHMANDU, NEW_YORK, KIRITIMATI = map(
    ZoneInfo, ("Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati")
)
UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.7239, "72.4 %"), (0.0, "0.0 %"), (1.0, "100.0 %"), (1 / 3, "33.3 %"), (None, "–")],
)
def test_a_rate_is_a_percentage_and_none_is_a_dash(rate: float | None, text: str) -> None:
    assert formatting.percent(rate) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (0.724, 0.693, "up 3.1 points from 69.3 %"),
        (0.5, 0.75, "down 25.0 points from 75.0 %"),
        (0.5, 0.5, "the same as before, 50.0 %"),
        (0.50001, 0.5, "the same as before, 50.0 %"),
        (0.0, 0.001, "down 0.1 points from 0.1 %"),
        (0.5, None, "no tasks before"),
        (None, None, "no tasks before"),
        (None, 0.5, "50.0 % before"),
    ],
)
def test_rates_are_compared_in_points(now: float | None, before: float | None, text: str) -> None:
    assert formatting.points(now, before) == text


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_points_between_two_rates_are_those_between_the_rates_as_shown(
    now: float, before: float
) -> None:
    said = formatting.points(now, before)
    shown = [float(formatting.percent(rate).removesuffix(" %")) for rate in (now, before)]
    found = re.match(r"(up|down) ([\d.]+) points", said)
    moved = float(found[2]) * (1 if found[1] == "up" else -1) if found else 0.0
    assert moved == pytest.approx(shown[0] - shown[1], abs=0.001)


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (814, 726, "up 12 % from 726"),
        (1, 4, "down 75 % from 4"),
        (0, 4, "down 100 % from 4"),
        (44, 4, "up 1,000 % from 4"),
        (1001, 1000, "up less than 1 % from 1,000"),
        (999, 1000, "down less than 1 % from 1,000"),
        (7, 7, "the same as before, 7"),
        (7, 0, "none before"),
        (0, 0, "none before"),
    ],
)
def test_amounts_are_compared_in_per_cent(now: int, before: int, text: str) -> None:
    assert formatting.change(now, before, formatting.number) == text


def test_what_was_before_has_its_unit() -> None:
    assert (
        formatting.change(7_200_000, 3_600_000, formatting.duration) == "up 100 % from 1 h 00 min"
    )


def test_one_of_a_thing_is_one() -> None:
    assert formatting.counted(1, "artifact") == "1 artifact"
    assert formatting.counted(0, "local hit") == "0 local hits"
    assert formatting.counted(12345, "miss") == "12,345 misses"


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
def test_sizes(size: int | None, text: str) -> None:
    assert formatting.size(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1500, "1500"), (2000, "2 kB"), (200 * 10**6, "200 MB"), (5 * 10**15, "5000 TB")],
)
def test_a_size_in_a_field_is_short(size: int, text: str) -> None:
    assert formatting.exact_size(size) == text


@given(st.integers(0, 10**9), st.sampled_from([1, 10**3, 10**6]))
def test_a_size_in_a_field_is_read_again_as_the_same(number: int, unit: int) -> None:
    assert parse_size(formatting.exact_size(number * unit)) == number * unit


@pytest.mark.parametrize(
    ("span", "text", "short"),
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
def test_spans_of_time(span: float | None, text: str, short: str | None) -> None:
    assert formatting.duration(span) == text
    if span is not None:
        assert formatting.short_duration(span) == short


@given(st.integers(0, 10**12))
def test_a_span_in_words_is_less_than_its_last_unit_away(span_ms: int) -> None:
    parts = re.findall(r"([\d.,]+) (\w+)", formatting.duration(span_ms))
    said_ms = sum(float(number.replace(",", "")) * UNITS_MS[unit] for number, unit in parts)
    last_ms = UNITS_MS[parts[-1][1]]
    assert abs(said_ms - span_ms) < (last_ms if len(parts) == 2 else last_ms / 10 + 1)


def test_moments_are_those_of_the_zone() -> None:
    moment = "2026-11-21T20:33:01.250Z"
    assert formatting.moment(moment, KATHMANDU) == "22 Nov 2026, 02:18"
    assert formatting.moment(moment, NEW_YORK) == "21 Nov 2026, 15:33"
    assert formatting.exact_moment(moment, NEW_YORK) == "2026-11-21 15:33:01 EST"
    assert formatting.exact_moment(moment, KIRITIMATI) == "2026-11-22 10:33:01 +14"


@pytest.mark.parametrize(
    ("moment", "short"),
    [
        ("2026-11-21T00:00:00.000Z", "2026-11-21T00:00Z"),
        ("2026-11-21T20:33:01.000Z", "2026-11-21T20:33:01Z"),
        ("2026-11-21T20:33:00.001Z", "2026-11-21T20:33:00.001Z"),
    ],
)
def test_a_moment_in_an_address_is_as_exact_as_it_is(moment: str, short: str) -> None:
    assert formatting.short_moment(moment) == short


@pytest.mark.parametrize(
    ("bucket", "name", "label"),
    [
        ("hour", "22 Nov, 02:15", "02:15"),
        ("day", "Sun 22 Nov 2026", "22 Nov"),
        ("week", "week of 22 Nov 2026", "22 Nov"),
        ("month", "November 2026", "Nov 2026"),
    ],
)
def test_parts_of_a_period_have_names(bucket: str, name: str, label: str) -> None:
    begins = "2026-11-21T20:30:00.000Z"
    assert formatting.bucket_name(begins, bucket, KATHMANDU) == name
    assert formatting.bucket_label(begins, bucket, KATHMANDU) == label
