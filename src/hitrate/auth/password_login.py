"""Passwords at the door: checked one try at a time, slower for who guesses."""

import math
import threading

from hitrate.auth.throttle import AttemptThrottle
from hitrate.clock import Clock
from hitrate.errors import RateLimited, ServiceUnavailable
from hitrate.metrics import Metrics
from hitrate.teams.models import User
from hitrate.teams.users import UserStore

FREE = 5
_FIRST_WAIT_S = 1.0
_MOST_WAIT_S = 60.0
_WINDOW_S = 15 * 60.0

_AT_ONCE = 16
"""Each check holds a thread; the rest of the threads stay for other requests."""


class PasswordAuthenticator:
    """Tells nobody whether an address is known. Safe to use from several threads."""

    def __init__(self, users: UserStore, metrics: Metrics, clock: Clock) -> None:
        self._users = users
        self._metrics = metrics
        self._clock = clock
        self._throttle = AttemptThrottle(FREE, _FIRST_WAIT_S, _MOST_WAIT_S, _WINDOW_S)
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def authenticate(self, email: str, password: str) -> User | None:
        """Whoever has this address and password. Takes a while.

        Raises RateLimited, ServiceUnavailable.
        """
        key = email.strip().lower()[:254]
        if not self._places.acquire(blocking=False):
            raise ServiceUnavailable("Too many people are signing in; try again in a moment.", 1)
        try:
            self._count_try(key)
            user = self._users.authenticate(email, password)
        finally:
            self._places.release()
        if user is None:
            self.count_failure()
        else:
            with self._lock:
                self._throttle.succeed(key)
        return user

    def count_failure(self) -> None:
        """Count an attempt to sign in that failed."""
        with self._lock:
            self._metrics.add("hitrate_login_failures")

    def _count_try(self, key: str) -> None:
        # Counted as failed before it is checked, so that tries at once are no way around it.
        with self._lock:
            now_ms = self._clock.now_ms()
            wait_s = math.ceil(self._throttle.wait_s(key, now_ms))
            if not wait_s:
                self._throttle.fail(key, now_ms)
                return
            self._metrics.add("hitrate_login_failures")
        seconds = "1 second" if wait_s == 1 else f"{wait_s} seconds"
        raise RateLimited(f"Too many attempts for this address; try again in {seconds}.", wait_s)
