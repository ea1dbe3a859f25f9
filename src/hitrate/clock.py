"""Clocks, which are passed to the components that need the time. Times are UTC milliseconds."""

import time
from datetime import UTC, datetime


class Clock:
    """The system clock."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


class ManualClock(Clock):
    """A clock that only `advance` moves, for tests and generated data."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.value_ms = now_ms

    def now_ms(self) -> int:
        return self.value_ms

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.value_ms += int(seconds * 1000)


def iso(at_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, such as `2026-11-21T20:33:01.250Z`."""
    second = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
