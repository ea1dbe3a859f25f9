"""Billing cycles, held against a calendar that is walked day by day."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitrate.teams.cycles import BillingSchedule, Cycle

DAY_MS = 86_400_000
FIRST, LAST = date(1999, 1, 1), date(2104, 12, 31)


def ms(text: str) -> int:
    """UTC milliseconds of an ISO date or time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@cache
def starts(day: int) -> list[int]:
    """Every moment on which a cycle of this day begins: found by asking each day in turn."""
    found = []
    today = FIRST
    while today <= LAST:
        tomorrow = today + timedelta(days=1)
        is_last_of_month = tomorrow.month != today.month
        if today.day == day or (is_last_of_month and today.day < day):
            found.append((today - date(1970, 1, 1)).days * DAY_MS)
        today = tomorrow
    return found


def whole_cycle(day: int, now_ms: int) -> Cycle:
    """The slow and obvious one, when the day never changed."""
    before = [start for start in starts(day) if start <= now_ms]
    after = [start for start in starts(day) if start > now_ms]
    return Cycle(before[-1], after[0])


class Walk:
    """A team's cycles as a clerk would keep them: a list that each midnight may add to."""

    def __init__(self, day: int, now_ms: int) -> None:
        self.day = day
        self.start_ms = whole_cycle(day, now_ms).start_ms
        self.end_ms = whole_cycle(day, now_ms).end_ms
        self.past: list[Cycle] = []

    def go_to(self, now_ms: int) -> None:
        while now_ms >= self.end_ms:
            self.past.append(Cycle(self.start_ms, self.end_ms))
            self.start_ms = self.end_ms
            self.end_ms = next(start for start in starts(self.day) if start > self.start_ms)

    def change(self, day: int, now_ms: int) -> None:
        """The cycle in progress ends where it would have, or on the first new day before that."""
        self.day = day
        self.end_ms = min(self.end_ms, next(start for start in starts(day) if start > now_ms))


class Change(NamedTuple):
    """So long after the one before, to this day."""

    after_ms: int
    day: int


days = st.integers(1, 31)
moments = st.integers(ms("2000-01-01"), ms("2099-12-31"))
spans = st.one_of(st.integers(0, 3 * DAY_MS), st.integers(0, 100 * DAY_MS))
changes = st.lists(st.builds(Change, spans, days), max_size=12)


@given(days, moments)
@example(31, ms("2024-02-29"))
@example(29, ms("2100-02-28"))
def test_a_moment_is_in_the_cycle_that_the_calendar_says(day: int, now_ms: int) -> None:
    assert BillingSchedule(day).at(now_ms) == whole_cycle(day, now_ms)


@given(days, moments)
def test_cycles_tile_time_without_gap_or_overlap(day: int, now_ms: int) -> None:
    plan, cycle = BillingSchedule(day), BillingSchedule(day).at(now_ms)
    assert cycle.start_ms <= now_ms < cycle.end_ms
    assert plan.at(cycle.start_ms) == plan.at(cycle.end_ms - 1) == cycle
    assert plan.at(cycle.end_ms).start_ms == cycle.end_ms
    assert plan.at(cycle.start_ms - 1).end_ms == cycle.start_ms
    assert 28 * DAY_MS <= cycle.end_ms - cycle.start_ms <= 31 * DAY_MS


@pytest.mark.parametrize(
    ("day", "now", "start", "end"),
    [
        (1, "2024-02-29T23:59:59.999", "2024-02-01", "2024-03-01"),
        (1, "2024-03-01", "2024-03-01", "2024-04-01"),
        (15, "2024-03-14T23:59:59.999", "2024-02-15", "2024-03-15"),
        (29, "2024-02-29", "2024-02-29", "2024-03-29"),
        (29, "2023-02-28", "2023-02-28", "2023-03-29"),
        (30, "2028-02-29", "2028-02-29", "2028-03-30"),
        (31, "2000-02-29", "2000-02-29", "2000-03-31"),
        (31, "2100-02-28", "2100-02-28", "2100-03-31"),
        (31, "2100-02-27T23:59:59.999", "2100-01-31", "2100-02-28"),
        (31, "2024-04-30", "2024-04-30", "2024-05-31"),
        (31, "2024-12-31", "2024-12-31", "2025-01-31"),
        (31, "2025-01-01", "2024-12-31", "2025-01-31"),
    ],
)
def test_a_cycle_begins_at_midnight_utc_on_its_day_or_on_the_months_last(
    day: int, now: str, start: str, end: str
) -> None:
    assert BillingSchedule(day).at(ms(now)) == Cycle(ms(start), ms(end))


@given(days, moments, changes)
def test_after_any_changes_of_the_day_cycles_are_as_a_clerk_keeps_them(
    day: int, now_ms: int, changed: list[Change]
) -> None:
    plan, clerk = BillingSchedule(day), Walk(day, now_ms)
    for change in changed:
        now_ms += change.after_ms
        clerk.go_to(now_ms)
        before = plan.at(now_ms)
        assert before == Cycle(clerk.start_ms, clerk.end_ms)
        plan = plan.with_day(change.day, now_ms)
        clerk.change(change.day, now_ms)
        after = plan.at(now_ms)
        assert after == Cycle(clerk.start_ms, clerk.end_ms)
        assert after.start_ms == before.start_ms, "the cycle in progress began anew"
        assert now_ms < after.end_ms <= before.end_ms
    for _ in range(5):
        now_ms = plan.at(now_ms).end_ms
        clerk.go_to(now_ms)
        assert plan.at(now_ms) == Cycle(clerk.start_ms, clerk.end_ms)
    kept = [*clerk.past, plan.at(now_ms)]
    for one, following in pairwise(kept):
        assert one.end_ms == following.start_ms
    assert all(0 < cycle.end_ms - cycle.start_ms <= 31 * DAY_MS for cycle in kept)


@given(days, moments, changes)
def test_a_changed_plan_tiles_time_also_before_the_change(
    day: int, now_ms: int, changed: list[Change]
) -> None:
    plan = BillingSchedule(day)
    for change in changed:
        now_ms += change.after_ms
        plan = plan.with_day(change.day, now_ms)
    for _ in range(4):
        cycle = plan.at(now_ms)
        assert plan.at(cycle.start_ms) == plan.at(cycle.end_ms - 1) == cycle
        before = plan.at(cycle.start_ms - 1)
        assert before.end_ms == cycle.start_ms, "a gap, or an overlap"
        now_ms = before.start_ms


@given(days, moments, changes, st.integers(0, 31 * DAY_MS))
def test_all_moments_of_a_cycle_have_the_same_cycle(
    day: int, now_ms: int, changed: list[Change], offset_ms: int
) -> None:
    plan = BillingSchedule(day)
    for change in changed:
        now_ms += change.after_ms
        plan = plan.with_day(change.day, now_ms)
    cycle = plan.at(now_ms)
    assert plan.at(min(now_ms + offset_ms, cycle.end_ms - 1)) == cycle


@given(days, days, moments)
def test_once_a_change_has_settled_cycles_begin_on_the_new_day(
    old: int, new: int, now_ms: int
) -> None:
    plan = BillingSchedule(old).with_day(new, now_ms)
    settled_ms = plan.at(now_ms).end_ms
    settled_ms = plan.at(settled_ms).end_ms
    assert plan.at(settled_ms) == whole_cycle(new, settled_ms)


@given(days, moments, changes)
def test_a_change_to_the_same_day_changes_no_cycle_of_that_day(
    day: int, now_ms: int, changed: list[Change]
) -> None:
    plan = BillingSchedule(day)
    for change in changed:
        now_ms += change.after_ms
        plan = plan.with_day(day, now_ms)
        assert plan.at(now_ms) == whole_cycle(day, now_ms)
