"""Billing cycles: when one ends and the next begins. Pure.

A cycle begins at 00:00 UTC on a day of the month; in a month that is too short, on its last day.
Cycles follow each other without a gap. A change of the day never begins a cycle anew: the one in
progress ends on the first new day, or when it would have ended anyway, whichever comes first; so
none is longer than a month.
"""

import calendar
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec


class Cycle(NamedTuple):
    """From `start_ms` up to, not including, `end_ms`; UTC milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms


class BillingSchedule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A team's day of the month; and the cycle that was in progress when it last changed."""

    day: int = 1
    since_ms: int | None = None
    until_ms: int | None = None

    def at(self, now_ms: int) -> Cycle:
        """The cycle that a moment belongs to."""
        if self.since_ms is None or self.until_ms is None:
            return _whole(self.day, now_ms)
        if now_ms < self.since_ms:
            start_ms, end_ms = _whole(self.day, now_ms)
            return Cycle(start_ms, min(end_ms, self.since_ms))
        if now_ms < self.until_ms:
            return Cycle(self.since_ms, self.until_ms)
        start_ms, end_ms = _whole(self.day, now_ms)
        return Cycle(max(start_ms, self.until_ms), end_ms)

    def with_day(self, day: int, now_ms: int) -> "BillingSchedule":
        """The plan after a change to another day at this moment."""
        current = self.at(now_ms)
        until_ms = min(current.end_ms, _whole(day, now_ms).end_ms)
        return BillingSchedule(day, current.start_ms, until_ms)


def _whole(day: int, now_ms: int) -> Cycle:
    """The cycle around a moment when the day has never changed."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    begin = _begin(now, day)
    if begin > now:
        before = now.replace(day=1) - timedelta(days=1)
        return Cycle(_ms(_begin(before, day)), _ms(begin))
    after = now.replace(day=28) + timedelta(days=4)
    return Cycle(_ms(begin), _ms(_begin(after, day)))


def _begin(month: datetime, day: int) -> datetime:
    last = calendar.monthrange(month.year, month.month)[1]
    return datetime(month.year, month.month, min(day, last), tzinfo=UTC)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
