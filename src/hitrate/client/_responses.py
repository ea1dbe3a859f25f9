"""Responses as errors or as artifact metadata."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from hitrate.client._content import Content
from hitrate.client.errors import (
    BadRequest,
    Forbidden,
    HitrateError,
    NotFound,
    PaymentRequired,
    RateLimited,
    ServiceUnavailable,
    TransportError,
    Unauthorized,
)
from hitrate.client.models import ArtifactMetadata

_BY_STATUS: dict[int, type[HitrateError]] = {
    401: Unauthorized,
    402: PaymentRequired,
    403: Forbidden,
    404: NotFound,
}
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
_MAX_MESSAGE_LENGTH = 200


@contextmanager
def map_transport_errors(server: str, content: object = None) -> Iterator[None]:
    """Translate httpx errors into the client's errors; `server` names the server in messages.

    Errors of the upload's source or progress callback are raised unchanged.
    """
    try:
        yield
    except Exception as error:
        mapped = _map_error(error, server)
        if mapped is error or (isinstance(content, Content) and content.is_broken):
            raise
        raise mapped from error


def _map_error(error: Exception, server: str) -> Exception:
    if isinstance(error, httpx.LocalProtocolError | UnicodeError | OverflowError):
        return BadRequest(f"The request cannot be sent: {error}.")
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
        detail = str(error) or type(error).__name__
        arrived = not isinstance(error, _NOT_SENT)
        return TransportError(f"No response from {server}: {detail}.", may_have_arrived=arrived)
    return error


def error_from_response(response: httpx.Response) -> HitrateError:
    """Return the error for a response whose body has been read."""
    status, headers = response.status_code, response.headers
    if status < 400 or (status == 404 and is_html(response)):
        return TransportError(
            f"{response.url.host} responded with {status}, which is not a response of this API. "
            "Check the address.",
            may_have_arrived=False,
            status=status,
        )
    code, message = _error_detail(response)
    details: dict[str, Any] = {
        "status": status,
        "code": code,
        "request_id": headers.get("x-request-id") or headers.get("x-vercel-id"),
    }
    if status == 429 or status >= 500:
        kind = RateLimited if status == 429 else ServiceUnavailable
        return kind(message, retry_after=retry_after_s(headers.get("retry-after")), **details)
    return _BY_STATUS.get(status, BadRequest)(message, **details)


def retry_after_s(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None if it is neither."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def metadata_from_headers(response: httpx.Response) -> ArtifactMetadata:
    """Return the artifact metadata in response headers."""
    headers = response.headers
    length = headers.get("content-length", "")
    return ArtifactMetadata(
        size_bytes=int(length) if length.isdecimal() else None,
        duration_ms=_number(headers.get("x-artifact-duration")),
        tag=headers.get("x-artifact-tag"),
        sha=headers.get("x-artifact-sha"),
        dirty_hash=headers.get("x-artifact-dirty-hash"),
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _error_detail(response: httpx.Response) -> tuple[str | None, str]:
    """Return code and message of either error format, or else the text of the response."""
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    if isinstance(body, dict):
        nested = body.get("error")
        detail = nested if isinstance(nested, dict) else body
        code, message = detail.get("code"), detail.get("message")
        if isinstance(message, str):
            return (code if isinstance(code, str) else None), message
    text = response.text.strip()
    if not text or len(text) > _MAX_MESSAGE_LENGTH or "\n" in text or is_html(response):
        text = f"The server responded with {response.status_code} {response.reason_phrase}."
    return None, text


def is_html(response: httpx.Response) -> bool:
    """Return whether a response is HTML, which this API never sends."""
    return "html" in response.headers.get("content-type", "")
