"""Moments as people and programs write them in queries and options."""

import re
from datetime import UTC, datetime

from hitrate.errors import BadRequest
from hitrate.units import parse_duration

EARLIEST_MS = 0
LATEST_MS = 4_102_444_800_000
"""1970 and 2100: moments beyond them are taken for these."""


def parse_time_ms(text: str, now_ms: int) -> int:
    """UTC milliseconds of `2026-11-21T20:33:00Z`, `2026-11-21` or `7d` (that long ago).

    A time without a zone is UTC. Raises ValueError.
    """
    if re.fullmatch(r"\d+(\.\d+)?[smhdw]", text):
        at_ms = now_ms - int(parse_duration(text) * 1000)
    else:
        moment = datetime.fromisoformat(text)
        at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return min(max(at_ms, EARLIEST_MS), LATEST_MS)


def parse_time_param(name: str, text: str, now_ms: int) -> int:
    """The same, of a parameter with a name. Raises BadRequest."""
    try:
        return parse_time_ms(text, now_ms)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name} is {text[:40]!a}; send a time in ISO 8601, such as "
            "2026-11-21T20:33:00Z, or a length of time, such as 7d."
        ) from error
