"""Billing cycles: when a cycle starts and ends. Pure.

A cycle starts at 00:00 UTC on the team's day of the month, or on the last day of a shorter month.
Cycles follow each other without a gap. A change of the day does not restart the current cycle: it
ends on the first new day or on its original end, whichever is earlier. So no cycle is longer than a
month.
"""

import calendar
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec


class Cycle(NamedTuple):
    """A billing cycle: from `start_ms` up to, not including, `end_ms`. UTC milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms


class BillingSchedule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A team's day of the month, and the bounds of the cycle in which that day last changed."""

    day: int = 1
    since_ms: int | None = None
    until_ms: int | None = None

    def at(self, now_ms: int) -> Cycle:
        """Return the cycle that contains a time."""
        if self.since_ms is None or self.until_ms is None:
            return _unshifted_cycle(self.day, now_ms)
        if now_ms < self.since_ms:
            start_ms, end_ms = _unshifted_cycle(self.day, now_ms)
            return Cycle(start_ms, min(end_ms, self.since_ms))
        if now_ms < self.until_ms:
            return Cycle(self.since_ms, self.until_ms)
        start_ms, end_ms = _unshifted_cycle(self.day, now_ms)
        return Cycle(max(start_ms, self.until_ms), end_ms)

    def with_day(self, day: int, now_ms: int) -> "BillingSchedule":
        """Return the schedule after the day is changed at this time."""
        current = self.at(now_ms)
        until_ms = min(current.end_ms, _unshifted_cycle(day, now_ms).end_ms)
        return BillingSchedule(day, current.start_ms, until_ms)


def _unshifted_cycle(day: int, now_ms: int) -> Cycle:
    """Return the cycle that contains a time if the day has never changed."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    start = _start_in_month(now, day)
    if start > now:
        previous_month = now.replace(day=1) - timedelta(days=1)
        return Cycle(_ms(_start_in_month(previous_month, day)), _ms(start))
    next_month = now.replace(day=28) + timedelta(days=4)
    return Cycle(_ms(start), _ms(_start_in_month(next_month, day)))


def _start_in_month(month: datetime, day: int) -> datetime:
    last_day = calendar.monthrange(month.year, month.month)[1]
    return datetime(month.year, month.month, min(day, last_day), tzinfo=UTC)


def _ms(time: datetime) -> int:
    return int(time.timestamp()) * 1000
