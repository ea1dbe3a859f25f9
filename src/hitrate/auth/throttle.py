"""Slowing down who guesses: after some failures each further try has to wait, longer each time.

Pure but for its memory, which is bounded. Times are UTC milliseconds.
"""

from collections import OrderedDict

_REMEMBER_MOST = 10_000


class AttemptThrottle:
    """Failures by key: an address, a name. A success, or time, forgets them."""

    def __init__(self, free: int, first_wait_s: float, most_wait_s: float, window_s: float) -> None:
        """`free` failures cost nothing; the next waits `first_wait_s`, then twice as long each, up
        to `most_wait_s`; `window_s` after the last failure all is forgotten."""
        self._free = free
        self._first_wait_s = first_wait_s
        self._most_wait_s = most_wait_s
        self._window_ms = int(window_s * 1000)
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def wait_s(self, key: str, now_ms: int) -> float:
        """How long, from now, the next try has to wait."""
        count, last_ms = self._failures.get(key, (0, now_ms))
        if count < self._free or not 0 <= now_ms - last_ms < self._window_ms:
            return 0.0
        doubled = min(count - self._free, 30)
        wait_s: float = min(self._first_wait_s * 2**doubled, self._most_wait_s)
        return max(0.0, wait_s - (now_ms - last_ms) / 1000)

    def fail(self, key: str, now_ms: int) -> None:
        """Note a failure."""
        count, last_ms = self._failures.pop(key, (0, now_ms))
        if not 0 <= now_ms - last_ms < self._window_ms:
            count = 0
        self._failures[key] = (count + 1, now_ms)
        if len(self._failures) > _REMEMBER_MOST:
            self._failures.popitem(last=False)

    def succeed(self, key: str) -> None:
        """Forget the failures."""
        self._failures.pop(key, None)
