"""Requests per minute of each team, limited by the generic cell rate algorithm (GCRA)."""

import math

from hitrate.clock import Clock

_MINUTE_US = 60 * 10**6


class RateLimiter:
    """In-memory GCRA limiter: a burst of one minute's requests, then evenly spaced ones.

    A rejected caller need not wait for a whole minute: `turbo` 2.11 waits for `Retry-After` each
    time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tat_us: dict[str, int] = {}
        """Theoretical arrival time by key: when the allowance is full again."""

    def acquire(self, key: str, requests_per_minute: int) -> int:
        """Count a request if the limit allows it.

        Returns 0 if it is allowed, otherwise the seconds until the next one is. A limit of 0
        allows none.
        """
        if not requests_per_minute:
            return _MINUTE_US // 10**6
        now_us = self._clock.now_ms() * 1000
        # A clock that was set back must not block the key for longer than a minute.
        last_tat_us = min(self._tat_us.get(key, 0), now_us + _MINUTE_US)
        tat_us = max(last_tat_us, now_us) + _MINUTE_US // requests_per_minute
        wait_us = tat_us - now_us - _MINUTE_US
        if wait_us > 0:
            self._tat_us[key] = last_tat_us
            return math.ceil(wait_us / 10**6)
        self._tat_us[key] = tat_us
        return 0
