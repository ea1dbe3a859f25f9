"""Slowing down who guesses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.auth.throttle import AttemptThrottle

NOW_MS = 1_800_000_000_000


def failing(
    throttle: AttemptThrottle, times: int, key: str = "a", at_ms: int = NOW_MS
) -> AttemptThrottle:
    for _ in range(times):
        throttle.record_failure(key, at_ms)
    return throttle


def throttle(free: int = 3) -> AttemptThrottle:
    return AttemptThrottle(free, base_delay_s=0.1, max_delay_s=1.0, window_s=60.0)


def test_who_never_failed_does_not_wait() -> None:
    assert throttle().delay_s("a", NOW_MS) == 0.0


def test_some_failures_are_free_and_each_more_doubles_the_wait_up_to_a_most() -> None:
    waits = [failing(throttle(), times).delay_s("a", NOW_MS) for times in range(9)]
    assert waits == [0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_very_many_failures_wait_no_longer_than_the_most() -> None:
    assert failing(throttle(), 5000).delay_s("a", NOW_MS) == 1.0


def test_time_that_passes_is_taken_off_the_wait() -> None:
    slowed = failing(throttle(), 6)
    assert slowed.delay_s("a", NOW_MS + 300) == pytest.approx(0.5)
    assert slowed.delay_s("a", NOW_MS + 800) == 0.0


def test_each_key_waits_for_its_own_failures() -> None:
    assert failing(throttle(), 9, key="a").delay_s("b", NOW_MS) == 0.0


def test_a_success_forgets_the_failures() -> None:
    slowed = failing(throttle(), 9)
    slowed.reset("a")
    slowed.reset("never seen")
    assert slowed.delay_s("a", NOW_MS) == 0.0
    assert failing(slowed, 3).delay_s("a", NOW_MS) == 0.1


def test_a_window_after_the_last_failure_all_is_forgotten() -> None:
    slowed = failing(throttle(), 9)
    assert slowed.delay_s("a", NOW_MS + 60_000) == 0.0
    assert failing(slowed, 1, at_ms=NOW_MS + 60_000).delay_s("a", NOW_MS + 60_000) == 0.0


def test_who_goes_on_failing_is_not_forgotten() -> None:
    slowed = throttle()
    for number in range(9):
        slowed.record_failure("a", NOW_MS + number * 59_999)
    assert slowed.delay_s("a", NOW_MS + 8 * 59_999) == 1.0


@given(st.integers(0, 50), st.integers(-(10**8), 10**8))
def test_nobody_waits_longer_than_the_most_whatever_the_clock_does(
    failures: int, later_ms: int
) -> None:
    slowed = failing(throttle(), failures)
    assert 0.0 <= slowed.delay_s("a", NOW_MS + later_ms) <= 1.0


def test_only_so_many_keys_are_remembered_and_the_oldest_goes_first() -> None:
    slowed = throttle(free=1)
    for number in range(10_001):
        slowed.record_failure(str(number), NOW_MS)
    assert slowed.delay_s("0", NOW_MS) == 0.0
    assert slowed.delay_s("1", NOW_MS) == 0.1
    assert slowed.delay_s("10000", NOW_MS) == 0.1
