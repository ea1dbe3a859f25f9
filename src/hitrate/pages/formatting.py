"""Numbers, sizes, durations and times as text on pages, each with its unit. Pure."""

import re
from collections.abc import Callable
from datetime import datetime, tzinfo

from hitrate.units import format_duration, format_percent, format_size

NO_VALUE = "–"


def percent(rate: float | None) -> str:
    """Format a rate from 0 to 1: `72.4 %` for 0.7239, a dash for None."""
    return NO_VALUE if rate is None else format_percent(rate)


def whole_percent(rate: float) -> str:
    """Format a rate for a chart axis: `50 %`."""
    return format_percent(rate, decimals=0)


def rate_change(rate: float | None, previous: float | None) -> str:
    """Compare a rate with that of the previous period: `up 3.1 points from 69.3 %`.

    The difference is that of the rounded percentages, so it agrees with what the page displays.
    """
    if previous is None:
        return "no tasks in the previous period"
    if rate is None:
        return f"was {percent(previous)}"
    difference = round(round(rate * 100, 1) - round(previous * 100, 1), 1)
    if difference == 0:
        return f"unchanged at {percent(previous)}"
    direction = "up" if difference > 0 else "down"
    return f"{direction} {abs(difference):.1f} points from {percent(previous)}"


def amount_change(amount: float, previous: float, format_amount: Callable[[float], str]) -> str:
    """Compare an amount with that of the previous period: `up 12 % from 726`."""
    if not previous:
        return "none in the previous period"
    if amount == previous:
        return f"unchanged at {format_amount(previous)}"
    share = abs(amount - previous) / previous * 100
    difference = f"{share:,.0f} %" if share >= 1 else "less than 1 %"
    direction = "up" if amount > previous else "down"
    return f"{direction} {difference} from {format_amount(previous)}"


def number(amount: float) -> str:
    """Format a count: `12,345`."""
    return f"{amount:,.0f}"


def size(size_bytes: float | None) -> str:
    """Format a size: `1.5 MB` for 1500000, a dash for None."""
    return NO_VALUE if size_bytes is None else format_size(size_bytes)


def duration(duration_ms: float | None) -> str:
    """Format a duration: `12.4 s`, `3 min 05 s`, `2 h 07 min`; a dash for None."""
    return NO_VALUE if duration_ms is None else format_duration(duration_ms)


def axis_duration(duration_ms: float) -> str:
    """Format a round duration for a chart axis: `16 h` where `duration` returns `16 h 00 min`."""
    return "0" if duration_ms == 0 else re.sub(r" 00 \w+$", "", duration(duration_ms))


def time_text(iso_time: str, zone: tzinfo) -> str:
    """Format an ISO 8601 time in a time zone: `21 Nov 2026, 20:33`."""
    return f"{_in_zone(iso_time, zone):%-d %b %Y, %H:%M}"


def exact_time_text(iso_time: str, zone: tzinfo) -> str:
    """Format an ISO 8601 time to the second: `2026-11-21 20:33:01 CET`."""
    return f"{_in_zone(iso_time, zone):%Y-%m-%d %H:%M:%S %Z}"


def url_time(iso_time: str) -> str:
    """Shorten an ISO 8601 time in UTC for a URL, without rounding: `2026-11-21T20:33Z`."""
    return iso_time.replace(".000Z", "Z").replace(":00Z", "Z")


def bucket_name(iso_time: str, bucket: str, zone: tzinfo) -> str:
    """Name the interval that begins at a time: `21 Nov, 20:00`, `Sat 21 Nov 2026`."""
    pattern = {
        "hour": "%-d %b, %H:%M",
        "day": "%a %-d %b %Y",
        "week": "week of %-d %b %Y",
        "month": "%B %Y",
    }[bucket]
    return f"{_in_zone(iso_time, zone):{pattern}}"


def bucket_label(iso_time: str, bucket: str, zone: tzinfo) -> str:
    """Label the interval that begins at a time, for a chart axis: `20:00`, `21 Nov`."""
    pattern = {"hour": "%H:%M", "day": "%-d %b", "week": "%-d %b", "month": "%b %Y"}[bucket]
    return f"{_in_zone(iso_time, zone):{pattern}}"


def _in_zone(iso_time: str, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(iso_time).astimezone(zone)
