"""Billing cycles, compared with a reference that walks the calendar day by day."""

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
    """Start of every cycle of this day, found by checking each calendar day."""
    starts_ms = []
    today = FIRST
    while today <= LAST:
        tomorrow = today + timedelta(days=1)
        is_last_of_month = tomorrow.month != today.month
        if today.day == day or (is_last_of_month and today.day < day):
            starts_ms.append((today - date(1970, 1, 1)).days * DAY_MS)
        today = tomorrow
    return starts_ms


def reference_cycle(day: int, now_ms: int) -> Cycle:
    """The cycle of a schedule whose day never changed, by linear search."""
    before = [start for start in starts(day) if start <= now_ms]
    after = [start for start in starts(day) if start > now_ms]
    return Cycle(before[-1], after[0])


class ReferenceSchedule:
    """Reference implementation: a list of past cycles and the current one."""

    def __init__(self, day: int, now_ms: int) -> None:
        self.day = day
        self.start_ms = reference_cycle(day, now_ms).start_ms
        self.end_ms = reference_cycle(day, now_ms).end_ms
        self.past: list[Cycle] = []

    def advance_to(self, now_ms: int) -> None:
        while now_ms >= self.end_ms:
            self.past.append(Cycle(self.start_ms, self.end_ms))
            self.start_ms = self.end_ms
            self.end_ms = next(start for start in starts(self.day) if start > self.start_ms)

    def change(self, day: int, now_ms: int) -> None:
        """End the current cycle on its original end or on the first new day, if that is earlier."""
        self.day = day
        self.end_ms = min(self.end_ms, next(start for start in starts(day) if start > now_ms))


class Change(NamedTuple):
    """A change of the day, some time after the previous change."""

    after_ms: int
    day: int


days = st.integers(1, 31)
times = st.integers(ms("2000-01-01"), ms("2099-12-31"))
spans = st.one_of(st.integers(0, 3 * DAY_MS), st.integers(0, 100 * DAY_MS))
changes = st.lists(st.builds(Change, spans, days), max_size=12)


@given(days, times)
@example(31, ms("2024-02-29"))
@example(29, ms("2100-02-28"))
def test_cycle_of_a_time_matches_the_calendar(day: int, now_ms: int) -> None:
    assert BillingSchedule(day).at(now_ms) == reference_cycle(day, now_ms)


@given(days, times)
def test_cycles_cover_time_without_gap_or_overlap(day: int, now_ms: int) -> None:
    schedule, cycle = BillingSchedule(day), BillingSchedule(day).at(now_ms)
    assert cycle.start_ms <= now_ms < cycle.end_ms
    assert schedule.at(cycle.start_ms) == schedule.at(cycle.end_ms - 1) == cycle
    assert schedule.at(cycle.end_ms).start_ms == cycle.end_ms
    assert schedule.at(cycle.start_ms - 1).end_ms == cycle.start_ms
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
def test_cycle_starts_on_its_day_or_on_the_last_day_of_the_month(
    day: int, now: str, start: str, end: str
) -> None:
    assert BillingSchedule(day).at(ms(now)) == Cycle(ms(start), ms(end))


@given(days, times, changes)
def test_cycles_match_the_reference_after_any_changes_of_the_day(
    day: int, now_ms: int, changed: list[Change]
) -> None:
    schedule, reference = BillingSchedule(day), ReferenceSchedule(day, now_ms)
    for change in changed:
        now_ms += change.after_ms
        reference.advance_to(now_ms)
        before = schedule.at(now_ms)
        assert before == Cycle(reference.start_ms, reference.end_ms)
        schedule = schedule.with_day(change.day, now_ms)
        reference.change(change.day, now_ms)
        after = schedule.at(now_ms)
        assert after == Cycle(reference.start_ms, reference.end_ms)
        assert after.start_ms == before.start_ms, "the current cycle was restarted"
        assert now_ms < after.end_ms <= before.end_ms
    for _ in range(5):
        now_ms = schedule.at(now_ms).end_ms
        reference.advance_to(now_ms)
        assert schedule.at(now_ms) == Cycle(reference.start_ms, reference.end_ms)
    cycles = [*reference.past, schedule.at(now_ms)]
    for one, following in pairwise(cycles):
        assert one.end_ms == following.start_ms
    assert all(0 < cycle.end_ms - cycle.start_ms <= 31 * DAY_MS for cycle in cycles)


@given(days, times, changes)
def test_changed_schedule_covers_time_before_the_change_too(
    day: int, now_ms: int, changed: list[Change]
) -> None:
    schedule = BillingSchedule(day)
    for change in changed:
        now_ms += change.after_ms
        schedule = schedule.with_day(change.day, now_ms)
    for _ in range(4):
        cycle = schedule.at(now_ms)
        assert schedule.at(cycle.start_ms) == schedule.at(cycle.end_ms - 1) == cycle
        before = schedule.at(cycle.start_ms - 1)
        assert before.end_ms == cycle.start_ms, "a gap, or an overlap"
        now_ms = before.start_ms


@given(days, times, changes, st.integers(0, 31 * DAY_MS))
def test_all_times_in_a_cycle_have_the_same_cycle(
    day: int, now_ms: int, changed: list[Change], offset_ms: int
) -> None:
    schedule = BillingSchedule(day)
    for change in changed:
        now_ms += change.after_ms
        schedule = schedule.with_day(change.day, now_ms)
    cycle = schedule.at(now_ms)
    assert schedule.at(min(now_ms + offset_ms, cycle.end_ms - 1)) == cycle


@given(days, days, times)
def test_cycles_start_on_the_new_day_after_the_transition(old: int, new: int, now_ms: int) -> None:
    schedule = BillingSchedule(old).with_day(new, now_ms)
    after_transition_ms = schedule.at(now_ms).end_ms
    after_transition_ms = schedule.at(after_transition_ms).end_ms
    assert schedule.at(after_transition_ms) == reference_cycle(new, after_transition_ms)


@given(days, times, changes)
def test_changing_to_the_same_day_changes_no_cycle(
    day: int, now_ms: int, changed: list[Change]
) -> None:
    schedule = BillingSchedule(day)
    for change in changed:
        now_ms += change.after_ms
        schedule = schedule.with_day(day, now_ms)
        assert schedule.at(now_ms) == reference_cycle(day, now_ms)
