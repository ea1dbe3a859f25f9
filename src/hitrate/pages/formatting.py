"""Numbers and moments in words, each with its unit. Pure."""

import re
from collections.abc import Callable
from datetime import datetime, tzinfo

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
_LEAST_POINTS = 0.1


def percent(rate: float | None) -> str:
    """`72.4 %` for 0.7239; a dash for no rate."""
    if rate is None:
        return "–"
    return f"{rate * 100:.1f} %"


def points(now: float | None, before: float | None) -> str:
    """`up 3.1 points from 69.3 %`: a rate and that of the period before, as they are shown."""
    if before is None:
        return "no tasks before"
    if now is None:
        return f"{percent(before)} before"
    moved = round(now * 100, 1) - round(before * 100, 1)
    if abs(moved) < _LEAST_POINTS / 2:
        return f"the same as before, {percent(before)}"
    return f"{'up' if moved > 0 else 'down'} {abs(moved):.1f} points from {percent(before)}"


def change(now: float, before: float, say: Callable[[float], str]) -> str:
    """`up 12 % from 726`: an amount and that of the period before."""
    if not before:
        return "none before"
    if now == before:
        return f"the same as before, {say(before)}"
    share = abs(now - before) / before * 100
    much = f"{share:,.0f} %" if share >= 1 else "less than 1 %"
    return f"{'up' if now > before else 'down'} {much} from {say(before)}"


def number(amount: float) -> str:
    """`12,345`."""
    return f"{amount:,.0f}"


def counted(amount: float, thing: str) -> str:
    """`1 artifact`, `12,345 misses`."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{number(amount)} {thing if amount == 1 else plural}"


def size(size_bytes: float | None) -> str:
    """`1.5 MB` for 1500000; a dash for None."""
    if size_bytes is None:
        return "–"
    for unit in _SIZES:
        if size_bytes < 999.95 or unit == _SIZES[-1]:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError


def exact_size(size_bytes: int) -> str:
    """`200 MB` for 200000000, and `1500` where that would be less exact; to be read again."""
    for power, unit in reversed(list(enumerate(_SIZES[:-1]))):
        if size_bytes and power and size_bytes % 1000**power == 0:
            return f"{size_bytes // 1000**power} {unit}"
    return str(size_bytes)


def duration(span_ms: float | None) -> str:
    """`350 ms`, `12.4 s`, `3 min 05 s`, `2 h 07 min`, `4 d 03 h`; a dash for None."""
    if span_ms is None:
        return "–"
    if span_ms < 999.5:
        return f"{span_ms:.0f} ms"
    seconds = span_ms / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, part, length, parts in (("min", "s", 60, 1), ("h", "min", 3600, 60)):
        if whole < length * (60 if unit == "min" else 24):
            return f"{whole // length} {unit} {whole % length // parts:02d} {part}"
    return f"{whole // 86400:,} d {whole % 86400 // 3600:02d} h"


def short_duration(span_ms: float) -> str:
    """`16 h` for what `duration` calls `16 h 00 min`, for an axis."""
    return re.sub(
        r" 00 \w+$|^0 ms$", lambda found: "0" if found[0] == "0 ms" else "", duration(span_ms)
    )


def moment(text: str, zone: tzinfo) -> str:
    """`21 Nov 2026, 20:33` in a zone, for ISO 8601."""
    return f"{_local(text, zone):%-d %b %Y, %H:%M}"


def exact_moment(text: str, zone: tzinfo) -> str:
    """`2026-11-21 20:33:01 CET`."""
    return f"{_local(text, zone):%Y-%m-%d %H:%M:%S %Z}"


def short_moment(text: str) -> str:
    """`2026-11-21T20:33Z`: as exact as it is, for addresses."""
    return text.replace(".000Z", "Z").replace(":00Z", "Z")


def bucket_name(text: str, bucket: str, zone: tzinfo) -> str:
    """What a part of a period is called: `21 Nov, 20:00`, `Sat 21 Nov 2026`, `November 2026`."""
    form = {
        "hour": "%-d %b, %H:%M",
        "day": "%a %-d %b %Y",
        "week": "week of %-d %b %Y",
        "month": "%B %Y",
    }[bucket]
    return f"{_local(text, zone):{form}}"


def bucket_label(text: str, bucket: str, zone: tzinfo) -> str:
    """The same in as few letters as will do, for an axis."""
    form = {"hour": "%H:%M", "day": "%-d %b", "week": "%-d %b", "month": "%b %Y"}[bucket]
    return f"{_local(text, zone):{form}}"


def whole_percent(rate: float) -> str:
    """`50 %`, for an axis."""
    return f"{rate * 100:.0f} %"


def _local(text: str, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)
