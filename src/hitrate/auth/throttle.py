"""Exponential delay after repeated failures. Pure; times are UTC milliseconds."""

from collections import OrderedDict

_MAX_KEYS = 10_000
_MAX_DOUBLINGS = 30


class AttemptThrottle:
    """Counts failed attempts by key, such as an email address or a client address.

    Remembers a bounded number of keys. A success, or time without a failure, resets a key.
    """

    def __init__(
        self, free_attempts: int, base_delay_s: float, max_delay_s: float, window_s: float
    ) -> None:
        """`free_attempts` failures cause no delay. The next one causes `base_delay_s`, and each
        further one doubles the delay, up to `max_delay_s`. The count is reset `window_s` after the
        last failure."""
        self._free_attempts = free_attempts
        self._base_delay_s = base_delay_s
        self._max_delay_s = max_delay_s
        self._window_ms = int(window_s * 1000)
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def delay_s(self, key: str, now_ms: int) -> float:
        """Return the number of seconds until the next attempt is allowed."""
        count, last_ms = self._failures.get(key, (0, now_ms))
        if count < self._free_attempts or not 0 <= now_ms - last_ms < self._window_ms:
            return 0.0
        doublings = min(count - self._free_attempts, _MAX_DOUBLINGS)
        delay_s: float = min(self._base_delay_s * 2**doublings, self._max_delay_s)
        return max(0.0, delay_s - (now_ms - last_ms) / 1000)

    def record_failure(self, key: str, now_ms: int) -> None:
        """Count a failure."""
        count, last_ms = self._failures.pop(key, (0, now_ms))
        if not 0 <= now_ms - last_ms < self._window_ms:
            count = 0
        self._failures[key] = (count + 1, now_ms)
        if len(self._failures) > _MAX_KEYS:
            self._failures.popitem(last=False)

    def reset(self, key: str) -> None:
        """Reset the count after a success."""
        self._failures.pop(key, None)
