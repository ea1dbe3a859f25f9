"""The time, as something that can be handed in. Times are UTC milliseconds since 1970."""

import time
from datetime import UTC, datetime


class Clock:
    """The system's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


class ManualClock(Clock):
    """A clock that moves only when told to; for tests, and for what is made up."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.value_ms = now_ms

    def now_ms(self) -> int:
        return self.value_ms

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self.value_ms += int(seconds * 1000)


def iso(at_ms: int) -> str:
    """`2026-11-21T20:33:01.250Z` for a time in UTC milliseconds."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
