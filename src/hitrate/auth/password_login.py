"""Authentication with email address and password, with a growing delay after failures."""

import math
import threading

from hitrate.auth.throttle import AttemptThrottle
from hitrate.clock import Clock
from hitrate.errors import RateLimited, ServiceUnavailable
from hitrate.metrics import Metrics
from hitrate.teams.models import User
from hitrate.teams.users import MAX_EMAIL_LENGTH, UserStore

FREE_ATTEMPTS = 5
_BASE_DELAY_S = 1.0
_MAX_DELAY_S = 60.0
_WINDOW_S = 15 * 60.0

_MAX_CONCURRENT_ATTEMPTS = 16
"""Each attempt occupies a page thread; the other ones stay available for other pages."""

_RETRY_AFTER_S = 1


class PasswordAuthenticator:
    """Checks passwords. Safe to use from several threads.

    The result, the delay and the duration do not reveal whether an address has an account.
    """

    def __init__(self, users: UserStore, metrics: Metrics, clock: Clock) -> None:
        self._users = users
        self._metrics = metrics
        self._clock = clock
        self._throttle = AttemptThrottle(FREE_ATTEMPTS, _BASE_DELAY_S, _MAX_DELAY_S, _WINDOW_S)
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_MAX_CONCURRENT_ATTEMPTS)

    def authenticate(self, email: str, password: str) -> User | None:
        """Return the user with this address and password, after a slow hash comparison.

        Raises RateLimited or ServiceUnavailable.
        """
        key = email.strip().lower()[:MAX_EMAIL_LENGTH]
        if not self._slots.acquire(blocking=False):
            raise ServiceUnavailable(
                "Too many users are logging in; try again in a moment.", _RETRY_AFTER_S
            )
        try:
            self._count_attempt(key)
            user = self._users.authenticate(email, password)
        finally:
            self._slots.release()
        if user is None:
            self.count_failure()
        else:
            with self._lock:
                self._throttle.reset(key)
        return user

    def count_failure(self) -> None:
        """Count a failed login in the metrics."""
        with self._lock:
            self._metrics.add("hitrate_login_failures")

    def _count_attempt(self, key: str) -> None:
        # Counted as a failure before the check, so that concurrent attempts do not avoid the delay.
        with self._lock:
            now_ms = self._clock.now_ms()
            delay_s = math.ceil(self._throttle.delay_s(key, now_ms))
            if not delay_s:
                self._throttle.record_failure(key, now_ms)
                return
            self._metrics.add("hitrate_login_failures")
        seconds = "1 second" if delay_s == 1 else f"{delay_s} seconds"
        raise RateLimited(f"Too many attempts for this address; try again in {seconds}.", delay_s)
