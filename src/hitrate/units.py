"""Parsing and formatting of sizes, durations, counts and percentages."""

import re

_SIZE_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_DURATION_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def parse_size(text: str) -> int:
    """Return the bytes of `1500`, `200MB` (decimal) or `4GiB` (binary).

    Raises ValueError. Its message is a noun phrase that follows "it takes".
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _SIZE_UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError("a size in bytes, such as 1500, 200MB or 4GiB")
    return int(float(match[1]) * unit)


def parse_duration(text: str) -> float:
    """Return the seconds of `90`, `45s`, `10m`, `12h`, `30d` or `2w`.

    Raises ValueError. Its message is a noun phrase that follows "it takes".
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", text)
    if match is None:
        raise ValueError("a duration, such as 45s, 10m, 12h, 30d or 2w")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def format_size(size_bytes: float) -> str:
    """Return `1.5 MB` for 1500000."""
    for unit in _DECIMAL_UNITS:
        if size_bytes < 999.95 or unit == _DECIMAL_UNITS[-1]:
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:,.1f} {unit}"


def format_exact_size(size_bytes: int) -> str:
    """Return `200 MB` for 200000000, but `1500` for 1500: `parse_size` restores the number."""
    for power, unit in reversed(list(enumerate(_DECIMAL_UNITS[:-1]))):
        if size_bytes and power and size_bytes % 1000**power == 0:
            return f"{size_bytes // 1000**power} {unit}"
    return str(size_bytes)


def format_duration(duration_ms: float) -> str:
    """Return `350 ms`, `12.4 s`, `3 min 05 s`, `2 h 07 min` or `4 d 03 h`."""
    if duration_ms < 999.5:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 59_950:
        return f"{duration_ms / 1000:.1f} s"
    days, hours, minutes, seconds = _split(duration_ms)
    if days:
        return f"{days:,} d {hours:02d} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def format_compact_duration(duration_ms: float) -> str:
    """Return `350ms`, `12.4s`, `12m34s`, `3h05m` or `2d04h`."""
    if duration_ms < 999.5:
        return f"{duration_ms:.0f}ms" if duration_ms else "0s"
    if duration_ms < 59_950:
        return f"{duration_ms / 1000:.1f}s"
    days, hours, minutes, seconds = _split(duration_ms)
    if days:
        return f"{days:,}d{hours:02d}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def format_count(count: float, noun: str) -> str:
    """Return `1 run`, `12,345 runs` or `2 batches`."""
    plural = f"{noun}es" if noun.endswith(("s", "ch")) else f"{noun}s"
    return f"{count:,.0f} {noun if count == 1 else plural}"


def format_percent(rate: float, decimals: int = 1) -> str:
    """Return `72.4 %` for 0.7239."""
    return f"{rate * 100:.{decimals}f} %"


def _split(duration_ms: float) -> tuple[int, int, int, int]:
    """Return days, hours, minutes and seconds."""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return days, hours, minutes, seconds
