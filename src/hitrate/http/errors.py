"""Mapping of errors to HTTP status, code and body: `STATUS_BY_ERROR` is the only such table."""

import msgspec

from hitrate import errors
from hitrate.http.asgi import JSON, Header, Response

STATUS_BY_ERROR: dict[type[errors.HitrateError], tuple[int, str]] = {
    errors.BadRequest: (400, "bad_request"),
    errors.Unauthorized: (401, "unauthorized"),
    errors.PaymentRequired: (402, "payment_required"),
    errors.Forbidden: (403, "forbidden"),
    errors.CachingDisabled: (403, "remote_caching_disabled"),
    errors.CachingPaused: (403, "remote_caching_paused"),
    errors.CachingOverLimit: (403, "remote_caching_over_limit"),
    errors.NotFound: (404, "not_found"),
    errors.MethodNotAllowed: (405, "method_not_allowed"),
    errors.PayloadTooLarge: (413, "payload_too_large"),
    errors.RateLimited: (429, "rate_limited"),
    errors.ServiceUnavailable: (503, "unavailable"),
}
"""HTTP status and code of each error. A subclass without an entry uses that of its base."""

INTERNAL = (500, "internal_error")
INTERNAL_MESSAGE = "Something went wrong in the server."


class ErrorDetail(msgspec.Struct):
    code: str
    message: str


class ErrorBody(msgspec.Struct):
    """The JSON body of an error. It has both published forms: `turbo` parses the nested one, older
    clients parse the flat one."""

    error: ErrorDetail
    code: str
    message: str


def error_body(code: str, message: str) -> bytes:
    """Encode the JSON body of an error."""
    return msgspec.json.encode(ErrorBody(ErrorDetail(code, message), code, message))


def error_response(error: BaseException) -> Response:
    """Create the response for an error. An unexpected error becomes a 500 without details."""
    status, code = next(
        (STATUS_BY_ERROR[cls] for cls in type(error).__mro__ if cls in STATUS_BY_ERROR), INTERNAL
    )
    message = str(error) if status != INTERNAL[0] else INTERNAL_MESSAGE
    return Response(status, error_body(code, message), (JSON, *_extra_headers(error)))


def _extra_headers(error: BaseException) -> tuple[Header, ...]:
    match error:
        case errors.Unauthorized():
            return ((b"www-authenticate", b"Bearer"),)
        case errors.MethodNotAllowed():
            return ((b"allow", ", ".join(error.allowed).encode()),)
        case errors.ServiceUnavailable() | errors.RateLimited():
            return ((b"retry-after", str(error.retry_after_s).encode()),)
        case errors.PayloadTooLarge():
            # The rest of the body is not read, so the connection cannot be reused.
            return ((b"connection", b"close"),)
        case _:
            return ()
