"""Sizes and durations as text."""

import re

_SIZE_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_DURATION_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_size(text: str) -> int:
    """Bytes in `1500`, `200MB` (10^6) or `4GiB` (2^30). Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _SIZE_UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError("a size in bytes, such as 1500, 200MB or 4GiB")
    return int(float(match[1]) * unit)


def parse_duration(text: str) -> float:
    """Seconds in `90`, `45s`, `10m`, `12h`, `30d` or `2w`. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", text)
    if match is None:
        raise ValueError("a length of time, such as 45s, 10m, 12h, 30d or 2w")
    return float(match[1]) * _DURATION_UNITS[match[2]]
