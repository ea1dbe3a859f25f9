"""Errors that the client raises.

HitrateError
├── BadRequest          400 and other 4xx; without a status: rejected before anything was sent
├── Unauthorized        401  the token is missing, unknown, expired or revoked
├── PaymentRequired     402  the team is blocked, or a payment is missing
├── Forbidden           403  `code` says why: forbidden, remote_caching_disabled, …
├── NotFound            404  the artifact does not exist
├── RateLimited         429  `retry_after` says when to try again
├── ServiceUnavailable  5xx  the server cannot process the request now
└── TransportError      no response, or not a response of this API
"""


class HitrateError(Exception):
    """Base class. `status` and `request_id` are None if there was no response."""

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
        details = [] if self.status is None else [str(self.status), self.code]
        if self.request_id:
            details.append(f"request {self.request_id}")
        return f"{self.message} ({', '.join(details)})" if details else self.message


class BadRequest(HitrateError, ValueError):
    """The input is invalid. If `status` is None, nothing was sent."""

    code = "bad_request"


class Unauthorized(HitrateError):
    """The token is missing, unknown, expired or revoked."""

    code = "unauthorized"


class PaymentRequired(HitrateError):
    """The team is blocked, or a payment is missing."""

    code = "payment_required"


class Forbidden(HitrateError):
    """The request is not allowed. `code` says why.

    It is `forbidden` (a permission is missing), `remote_caching_disabled`,
    `remote_caching_over_limit` or `remote_caching_paused`.
    """

    code = "forbidden"


class NotFound(HitrateError):
    """No artifact has this hash."""

    code = "not_found"


class _RetryableError(HitrateError):
    """A temporary failure. `retry_after` is the server's delay in seconds, if it sent one."""

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


class RateLimited(_RetryableError):
    """The team exceeded its rate limit."""

    code = "rate_limited"


class ServiceUnavailable(_RetryableError):
    """The server cannot process the request now."""

    code = "unavailable"


class TransportError(HitrateError):
    """No response was received or, if `status` is set, it is not a response of this API.

    `may_have_arrived`: the server may have processed the request although the call failed.
    """

    code = "transport_error"

    def __init__(
        self, message: str, *, may_have_arrived: bool = False, status: int | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.may_have_arrived = may_have_arrived
