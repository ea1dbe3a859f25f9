"""Parsing of times in query parameters and command options."""

import re
from datetime import UTC, datetime

from hitrate.errors import BadRequest
from hitrate.units import parse_duration

MIN_TIME_MS = 0
MAX_TIME_MS = 4_102_444_800_000
"""1970 and 2100. Times beyond them are clamped."""


def parse_time_ms(text: str, now_ms: int) -> int:
    """Return UTC milliseconds of `2026-11-21T20:33:00Z`, `2026-11-21`, or `7d` before `now_ms`.

    A time without a zone is in UTC. Raises ValueError or OverflowError.
    """
    if re.fullmatch(r"\d+(\.\d+)?[smhdw]", text):
        time_ms = now_ms - int(parse_duration(text) * 1000)
    else:
        time = datetime.fromisoformat(text)
        time_ms = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    return min(max(time_ms, MIN_TIME_MS), MAX_TIME_MS)


def parse_time_param(name: str, text: str, now_ms: int) -> int:
    """Return UTC milliseconds, like `parse_time_ms`. Raises BadRequest that names the parameter."""
    try:
        return parse_time_ms(text, now_ms)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name} is {text[:40]!a}; send a time in ISO 8601, such as "
            "2026-11-21T20:33:00Z, or a duration, such as 7d."
        ) from error


def parse_duration_param(name: str, text: str) -> float:
    """Return the seconds of a duration such as `30d`. Raises BadRequest, which names the input."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadRequest(f"{name} is {text[:40]!a}; it takes {error}.") from error
