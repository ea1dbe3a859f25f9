"""Retry policy: which failed calls are retried, and after which delay. Pure; clients wait."""

import random
from typing import Any

from hitrate.client._operations import Call
from hitrate.client.errors import (
    BadRequest,
    HitrateError,
    RateLimited,
    ServiceUnavailable,
    TransportError,
)

INITIAL_BACKOFF_S = 0.25
MAX_BACKOFF_S = 8.0

_NOT_PROCESSED_STATUSES = (429, 501, 503)
_PERMANENT_STATUSES = (501, 505)


def backoff_s(failures: int, retry_after_s: float | None = None) -> float:
    """Return the delay after a number of failures: the server's, or exponential with jitter.

    Jitter keeps clients that failed together in an outage from retrying together.
    """
    if retry_after_s is not None:
        return retry_after_s
    maximum: float = min(MAX_BACKOFF_S, INITIAL_BACKOFF_S * 2 ** min(failures - 1, 16))
    return maximum * random.uniform(0.5, 1.0)  # noqa: S311  # reason: jitter is no secret


def may_have_arrived(error: HitrateError) -> bool:
    """Return whether the server may have processed a call that failed.

    A rejected request changed nothing. Any other 5xx may come from a proxy in between.
    """
    if isinstance(error, TransportError):
        return error.may_have_arrived
    return isinstance(error, ServiceUnavailable) and error.status not in _NOT_PROCESSED_STATUSES


def is_retryable(error: HitrateError, *, idempotent: bool) -> bool:
    """Return whether a failed call may be retried.

    `idempotent`: processing the call twice has the same effect as processing it once.
    """
    if isinstance(error, TransportError):
        is_temporary = error.status is None
    else:
        is_temporary = isinstance(error, RateLimited | ServiceUnavailable)
    return (
        is_temporary
        and error.status not in _PERMANENT_STATUSES
        and (idempotent or not may_have_arrived(error))
    )


def validate_retries(retries: int) -> int:
    """Return `retries`. Raises BadRequest if it is negative."""
    if retries < 0:
        raise BadRequest(f"retries must be 0 or more, not {retries!r}.")
    return retries


class Attempts:
    """The failures of one call, and the delay before the next attempt."""

    def __init__(self, call: Call[Any], retries: int, max_backoff_s: float) -> None:
        self._max_backoff_s = max_backoff_s
        self._retries = retries if call.repeatable else 0
        self._idempotent = call.idempotent
        self._failures = 0

    def backoff_after(self, error: HitrateError) -> float:
        """Return the delay before the next attempt. Raises `error` if there is none."""
        self._failures += 1
        requested_s = getattr(error, "retry_after", None)
        if (
            self._failures > self._retries
            or not is_retryable(error, idempotent=self._idempotent)
            or (requested_s or 0) > self._max_backoff_s
        ):
            raise error
        return min(backoff_s(self._failures, requested_s), self._max_backoff_s)
