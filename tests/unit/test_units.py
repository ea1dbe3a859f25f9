"""Formatting of numbers with units; tests/unit/test_config.py covers parsing."""

import pytest

from hitrate.units import (
    format_compact_duration,
    format_count,
    format_duration,
    format_exact_size,
    format_percent,
    format_size,
    parse_size,
)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (999_949_999, "999.9 MB"),
        (999_950_000, "1.0 GB"),
        (4_000_000_000_000, "4.0 TB"),
        (2 * 10**18, "2,000.0 PB"),
    ],
)
def test_format_size_uses_decimal_units(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0"), (1500, "1500"), (2000, "2 kB"), (200_000_000, "200 MB"), (10**12, "1 TB")],
)
def test_format_exact_size_is_restored_by_parse_size(size_bytes: int, text: str) -> None:
    assert format_exact_size(size_bytes) == text
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("duration_ms", "text", "compact"),
    [
        (0, "0 ms", "0s"),
        (350, "350 ms", "350ms"),
        (999.4, "999 ms", "999ms"),
        (999.5, "1.0 s", "1.0s"),
        (12_400, "12.4 s", "12.4s"),
        (59_949, "59.9 s", "59.9s"),
        (59_950, "1 min 00 s", "1m00s"),
        (185_000, "3 min 05 s", "3m05s"),
        (3_599_499, "59 min 59 s", "59m59s"),
        (3_599_500, "1 h 00 min", "1h00m"),
        (7_620_000, "2 h 07 min", "2h07m"),
        (356_400_000, "4 d 03 h", "4d03h"),
        (86_400_000_000, "1,000 d 00 h", "1,000d00h"),
    ],
)
def test_format_duration_uses_two_units(duration_ms: float, text: str, compact: str) -> None:
    assert format_duration(duration_ms) == text
    assert format_compact_duration(duration_ms) == compact


def test_format_percent_has_the_requested_decimals() -> None:
    assert format_percent(0.7239) == "72.4 %"
    assert format_percent(0.5, 0) == "50 %"


def test_format_count_uses_the_singular_for_one() -> None:
    assert format_count(1, "artifact") == "1 artifact"
    assert format_count(0, "local hit") == "0 local hits"
    assert format_count(12345, "miss") == "12,345 misses"
    assert format_count(1, "batch") == "1 batch"
    assert format_count(2, "batch") == "2 batches"
