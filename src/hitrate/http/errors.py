"""THE table from hitrate's errors to HTTP status and code, and the shape they have on the wire."""

import msgspec

from hitrate import errors
from hitrate.http.asgi import JSON, Header, Response

TABLE: dict[type[errors.HitrateError], tuple[int, str]] = {
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

INTERNAL = (500, "internal_error")


class ErrorDetail(msgspec.Struct):
    code: str
    message: str


class ErrorBody(msgspec.Struct):
    """Both published forms at once: `turbo` parses the nested one, older clients the flat one."""

    error: ErrorDetail
    code: str
    message: str


def error_body(code: str, message: str) -> bytes:
    return msgspec.json.encode(ErrorBody(ErrorDetail(code, message), code, message))


def error_response(error: BaseException) -> Response:
    """The answer to a request that ended in `error`; anything unknown is a 500 without detail."""
    status, code = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)
    message = str(error) if status != INTERNAL[0] else "Something went wrong in the server."
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
            # What is left of the body is not read, so the connection cannot be used again.
            return ((b"connection", b"close"),)
        case _:
            return ()
