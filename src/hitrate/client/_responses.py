"""What an answer means: the error it stands for, or what its headers say of an artifact."""

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
_MESSAGE_MOST = 200


@contextmanager
def translated(server: str, content: object = None) -> Iterator[None]:
    """Raises what httpx raises as errors of our own; `server` is the one that was asked.

    What the source of a `content` raises, or whoever watches its progress, is not ours.
    """
    try:
        yield
    except Exception as error:
        ours = _translation(error, server)
        if ours is error or (isinstance(content, Content) and content.is_broken):
            raise
        raise ours from error


def _translation(error: Exception, server: str) -> Exception:
    if isinstance(error, httpx.LocalProtocolError | UnicodeError | OverflowError):
        return BadRequest(f"The request cannot be sent: {error}.")
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
        detail = str(error) or type(error).__name__
        arrived = not isinstance(error, _NOT_SENT)
        return TransportError(f"No answer from {server}: {detail}.", may_have_arrived=arrived)
    return error


def error_of(response: httpx.Response) -> HitrateError:
    """The error that an answer stands for; its body has been read."""
    status, headers = response.status_code, response.headers
    if status < 400 or (status == 404 and is_page(response)):
        return TransportError(
            f"{response.url.host} answered {status}, which is no answer of this API: is it the "
            "right address?",
            may_have_arrived=False,
            status=status,
        )
    code, message = _said(response)
    facts: dict[str, Any] = {
        "status": status,
        "code": code,
        "request_id": headers.get("x-request-id") or headers.get("x-vercel-id"),
    }
    if status == 429 or status >= 500:
        kind = RateLimited if status == 429 else ServiceUnavailable
        return kind(message, retry_after=retry_after_s(headers.get("retry-after")), **facts)
    return _BY_STATUS.get(status, BadRequest)(message, **facts)


def retry_after_s(text: str | None) -> float | None:
    """Seconds, from a number of them or from a date; None if it is neither."""
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


def metadata_of(response: httpx.Response) -> ArtifactMetadata:
    """What the headers of an answer say of the artifact."""
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


def _said(response: httpx.Response) -> tuple[str | None, str]:
    """Code and message of either published form of an error, or what the answer itself says."""
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
    if not text or len(text) > _MESSAGE_MOST or "\n" in text or is_page(response):
        text = f"The server answered {response.status_code} {response.reason_phrase}."
    return None, text


def is_page(response: httpx.Response) -> bool:
    """An answer for a browser, which none of this API is."""
    return "html" in response.headers.get("content-type", "")
