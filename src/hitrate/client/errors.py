"""Everything the client raises on purpose.

HitrateError
├── BadRequest        400, and any 4xx not below; or refused here, before anything was sent
├── Unauthorized      401  no token, or one that is unknown, expired or revoked
├── PaymentRequired   402  the account is soft-blocked, or a payment is missing
├── Forbidden         403  `code` says why: forbidden, remote_caching_disabled, …
├── NotFound          404  there is no such artifact
├── RateLimited       429  `retry_after` says when to try again
├── ServiceUnavailable       5xx  the server cannot do it now
└── TransportError    no answer, or none of this API
"""


class HitrateError(Exception):
    """The root. `status` and `request_id` are None where no answer came."""

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code or self.code
        self.request_id = request_id

    def __str__(self) -> str:
        facts = [] if self.status is None else [str(self.status), self.code]
        if self.request_id:
            facts.append(f"request {self.request_id}")
        return f"{self.message} ({', '.join(facts)})" if facts else self.message


class BadRequest(HitrateError, ValueError):
    """The input is invalid. With `status` None it was refused here, and nothing was sent."""

    code = "bad_request"


class Unauthorized(HitrateError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthorized"


class PaymentRequired(HitrateError):
    """The account is soft-blocked, or a payment is missing."""

    code = "payment_required"


class Forbidden(HitrateError):
    """Not allowed; `code` tells a missing permission from a cache that is off or over its limit.

    One of `forbidden`, `remote_caching_disabled`, `remote_caching_over_limit` and
    `remote_caching_paused`.
    """

    code = "forbidden"


class NotFound(HitrateError):
    """There is no artifact with this hash."""

    code = "not_found"


class _TryLater(HitrateError):
    """An answer that may say when to try again: `retry_after`, in seconds."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.retry_after = retry_after


class RateLimited(_TryLater):
    """Too many requests."""

    code = "rate_limited"


class ServiceUnavailable(_TryLater):
    """The server cannot do it now."""

    code = "unavailable"


class TransportError(HitrateError):
    """No answer, or, with a `status`, none of this API.

    `may_have_arrived`: the server may have done what the request asks, although it failed.
    """

    code = "transport_error"

    def __init__(
        self, message: str, *, may_have_arrived: bool = False, status: int | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.may_have_arrived = may_have_arrived
