"""Whether a call that failed is made again, and when. Pure: the clients do the waiting."""

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

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0

_NOT_DONE = (429, 501, 503)
_NEVER_BETTER = (501, 505)


def pause_s(failures: int, retry_after_s: float | None = None) -> float:
    """Seconds to wait after so many failures: what the server says, else twice as long each time.

    Jitter keeps many clients, which an outage has made fail at once, from coming back at once.
    """
    if retry_after_s is not None:
        return retry_after_s
    longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # reason: jitter is no secret


def may_have_arrived(error: HitrateError) -> bool:
    """Whether the server may have done what was asked although the call failed.

    A refusal changed nothing; any other 5xx may come from between us and the server.
    """
    if isinstance(error, TransportError):
        return error.may_have_arrived
    return isinstance(error, ServiceUnavailable) and error.status not in _NOT_DONE


def worth_another_try(error: HitrateError, *, harmless: bool) -> bool:
    """`harmless`: a call that is done twice does no more than one that is done once."""
    if isinstance(error, TransportError):
        passes = error.status is None
    else:
        passes = isinstance(error, RateLimited | ServiceUnavailable)
    return (
        passes and error.status not in _NEVER_BETTER and (harmless or not may_have_arrived(error))
    )


def checked_retries(retries: int) -> int:
    """Raises BadRequest for what is no number of retries."""
    if retries < 0:
        raise BadRequest(f"retries must be 0 or more, not {retries!r}.")
    return retries


class Attempts:
    """Counts the failures of one call, and says after each what comes next."""

    def __init__(self, call: Call[Any], retries: int, max_pause_s: float) -> None:
        self._max_pause_s = max_pause_s
        self._retries = retries if call.repeatable else 0
        self._harmless = call.harmless
        self._failures = 0

    def pause_after(self, error: HitrateError) -> float:
        """Seconds to wait before the next attempt. Raises `error` when there is none."""
        self._failures += 1
        asked_s = getattr(error, "retry_after", None)
        if (
            self._failures > self._retries
            or not worth_another_try(error, harmless=self._harmless)
            or (asked_s or 0) > self._max_pause_s
        ):
            raise error
        return min(pause_s(self._failures, asked_s), self._max_pause_s)
