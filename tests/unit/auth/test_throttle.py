"""Exponential delay after failed attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.auth.throttle import AttemptThrottle

NOW_MS = 1_800_000_000_000


def with_failures(
    throttle: AttemptThrottle, times: int, key: str = "a", at_ms: int = NOW_MS
) -> AttemptThrottle:
    for _ in range(times):
        throttle.record_failure(key, at_ms)
    return throttle


def throttle(free: int = 3) -> AttemptThrottle:
    return AttemptThrottle(free, base_delay_s=0.1, max_delay_s=1.0, window_s=60.0)


def test_no_delay_without_failures() -> None:
    assert throttle().delay_s("a", NOW_MS) == 0.0


def test_delay_doubles_after_free_attempts_up_to_the_maximum() -> None:
    delays = [with_failures(throttle(), times).delay_s("a", NOW_MS) for times in range(9)]
    assert delays == [0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_many_failures_do_not_exceed_the_maximum_delay() -> None:
    assert with_failures(throttle(), 5000).delay_s("a", NOW_MS) == 1.0


def test_elapsed_time_reduces_the_delay() -> None:
    limiter = with_failures(throttle(), 6)
    assert limiter.delay_s("a", NOW_MS + 300) == pytest.approx(0.5)
    assert limiter.delay_s("a", NOW_MS + 800) == 0.0


def test_keys_are_independent() -> None:
    assert with_failures(throttle(), 9, key="a").delay_s("b", NOW_MS) == 0.0


def test_reset_clears_the_failures_of_a_key() -> None:
    limiter = with_failures(throttle(), 9)
    limiter.reset("a")
    limiter.reset("never seen")
    assert limiter.delay_s("a", NOW_MS) == 0.0
    assert with_failures(limiter, 3).delay_s("a", NOW_MS) == 0.1


def test_failures_expire_a_window_after_the_last_one() -> None:
    limiter = with_failures(throttle(), 9)
    assert limiter.delay_s("a", NOW_MS + 60_000) == 0.0
    assert with_failures(limiter, 1, at_ms=NOW_MS + 60_000).delay_s("a", NOW_MS + 60_000) == 0.0


def test_further_failures_extend_the_window() -> None:
    limiter = throttle()
    for number in range(9):
        limiter.record_failure("a", NOW_MS + number * 59_999)
    assert limiter.delay_s("a", NOW_MS + 8 * 59_999) == 1.0


@given(st.integers(0, 50), st.integers(-(10**8), 10**8))
def test_delay_stays_within_bounds_whatever_the_clock_does(failures: int, later_ms: int) -> None:
    limiter = with_failures(throttle(), failures)
    assert 0.0 <= limiter.delay_s("a", NOW_MS + later_ms) <= 1.0


def test_oldest_key_is_evicted_above_the_maximum() -> None:
    limiter = throttle(free=1)
    for number in range(10_001):
        limiter.record_failure(str(number), NOW_MS)
    assert limiter.delay_s("0", NOW_MS) == 0.0
    assert limiter.delay_s("1", NOW_MS) == 0.1
    assert limiter.delay_s("10000", NOW_MS) == 0.1
