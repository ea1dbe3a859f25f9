"""The rate limiter: bursts, spacing, independent keys and a clock that is set back."""

import pytest

from hitrate.billing.rate_limit import RateLimiter
from hitrate.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limiter(clock: ManualClock) -> RateLimiter:
    return RateLimiter(clock)


def test_burst_of_one_minute_is_allowed_then_requests_are_spaced(
    limiter: RateLimiter, clock: ManualClock
) -> None:
    assert [limiter.acquire("team", 4) for _ in range(5)] == [0, 0, 0, 0, 15]
    clock.advance(14.999)
    assert limiter.acquire("team", 4) == 1
    clock.advance(0.001)
    assert [limiter.acquire("team", 4) for _ in range(2)] == [0, 15]


def test_keys_are_limited_independently(limiter: RateLimiter) -> None:
    assert limiter.acquire("ours", 1) == 0
    assert limiter.acquire("ours", 1) == 60
    assert limiter.acquire("theirs", 1) == 0


def test_limit_of_zero_allows_no_request(limiter: RateLimiter) -> None:
    assert [limiter.acquire("team", 0) for _ in range(2)] == [60, 60]
    assert limiter.acquire("team", 1) == 0


def test_clock_set_back_blocks_for_a_minute_at_most(
    limiter: RateLimiter, clock: ManualClock
) -> None:
    assert limiter.acquire("team", 2) == 0
    clock.advance(-86_400)
    assert limiter.acquire("team", 2) == 30
    clock.advance(30)
    assert limiter.acquire("team", 2) == 0
