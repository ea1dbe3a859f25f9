"""Responses become typed errors in both clients."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from hitrate.client import (
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
from tests.python_client.conftest import Connect
from tests.support.client_adapter import OPERATIONS, ClientAdapter
from tests.support.strict_fake import Disconnect, Response, StrictFake

SECRET = "hr_a-secret-that-must-not-be-printed"
MESSAGE = "Do this instead"


def error_of(
    connect: Connect,
    fake: StrictFake,
    response: Response,
    operation: Callable[[ClientAdapter, Path], object] = OPERATIONS["status"],
    directory: Path = Path(),
) -> HitrateError:
    """Return the error that is raised for a response, without retries."""
    fake.script(response)
    with pytest.raises(HitrateError) as raised:
        operation(connect(bearer_token=fake.token, server_url=fake.url, retries=0), directory)
    return raised.value


@pytest.mark.parametrize("body_format", ["both", "nested", "flat"])
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", BadRequest),
        (401, "unauthorized", Unauthorized),
        (402, "payment_required", PaymentRequired),
        (403, "forbidden", Forbidden),
        (403, "remote_caching_disabled", Forbidden),
        (403, "remote_caching_over_limit", Forbidden),
        (403, "remote_caching_paused", Forbidden),
        (404, "not_found", NotFound),
        (409, "conflict", BadRequest),
        (413, "payload_too_large", BadRequest),
        (418, "teapot", BadRequest),
        (429, "rate_limited", RateLimited),
        (500, "internal_server_error", ServiceUnavailable),
        (501, "not_implemented", ServiceUnavailable),
        (503, "unavailable", ServiceUnavailable),
    ],
)
def test_error_has_status_code_and_message_of_the_response(
    connect: Connect,
    fake: StrictFake,
    status: int,
    code: str,
    kind: type[HitrateError],
    body_format: str,
) -> None:
    flat = {"code": code, "message": MESSAGE}
    bodies: dict[str, dict[str, Any]] = {"nested": {"error": flat}, "flat": flat}
    bodies["both"] = bodies["nested"] | bodies["flat"]
    error = error_of(connect, fake, Response(status, bodies[body_format]))

    assert type(error) is kind
    assert (error.status, error.code, error.message) == (status, code, MESSAGE)
    assert error.request_id == "fake::1"
    assert str(error) == f"{MESSAGE} ({status}, {code}, request fake::1)"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_raises_the_error_of_the_response(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    fake.script(Response(403, {"code": "remote_caching_paused", "message": MESSAGE}))

    with pytest.raises(Forbidden) as raised:
        OPERATIONS[operation](fake_client, tmp_path)

    # The response to HEAD has no body, and so no code.
    code = "forbidden" if operation == "exists" else "remote_caching_paused"
    assert (raised.value.status, raised.value.code) == (403, code)


GENERIC_MESSAGE = "The server responded with 500 Internal Server Error."
HTML = {"content-type": "text/html"}


@pytest.mark.parametrize(
    ("response", "kind", "code", "message"),
    [
        (Response(404), NotFound, "not_found", "The server responded with 404 Not Found."),
        (Response(502, b"<html>Bad"), ServiceUnavailable, "unavailable", "<html>Bad"),
        (Response(500, b"x" * 9999), ServiceUnavailable, "unavailable", GENERIC_MESSAGE),
        (Response(500, b"two\nlines"), ServiceUnavailable, "unavailable", GENERIC_MESSAGE),
        (Response(500, b"page", HTML), ServiceUnavailable, "unavailable", GENERIC_MESSAGE),
        (Response(400, b"[1]"), BadRequest, "bad_request", "[1]"),
        (Response(400, {"error": "no"}), BadRequest, "bad_request", '{"error": "no"}'),
        (Response(401, {"message": "no", "code": 5}), Unauthorized, "unauthorized", "no"),
        (Response(401, b"\xff\xfe"), Unauthorized, "unauthorized", None),
    ],
)
def test_error_body_of_unknown_format_becomes_the_message(
    connect: Connect,
    fake: StrictFake,
    response: Response,
    kind: type[HitrateError],
    code: str,
    message: str | None,
) -> None:
    error = error_of(connect, fake, response)

    assert (type(error), error.status, error.code) == (kind, response.status, code)
    assert error.message == message or message is None


def test_request_id_of_a_hitrate_server_is_reported(connect: Connect, fake: StrictFake) -> None:
    assert error_of(connect, fake, Response(500, b"", {"x-request-id": "r1"})).request_id == "r1"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "min_s", "max_s"),
    [
        ("3", 3, 3),
        ("0", 0, 0),
        ("-5", 0, 0),
        pytest.param(formatdate(time.time() + 100_000, usegmt=True), 90_000, 100_000, id="a date"),
        (formatdate(0, usegmt=True), 0, 0),
        ("soon", None, None),
        ("nan", None, None),
        (None, None, None),
    ],
)
def test_error_has_the_retry_after_of_the_response(
    connect: Connect,
    fake: StrictFake,
    status: int,
    text: str | None,
    min_s: float | None,
    max_s: float | None,
) -> None:
    headers = {} if text is None else {"retry-after": text}
    error = error_of(connect, fake, Response(status, b"", headers))

    assert isinstance(error, RateLimited | ServiceUnavailable)
    if min_s is None or max_s is None:
        assert error.retry_after is None
    else:
        assert error.retry_after is not None
        assert min_s <= error.retry_after <= max_s


@pytest.mark.parametrize("operation", ["status", "upload", "query", "delete_all"])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[]", b"{", b'{"h": 1}', b'{"status": "unknown"}']
)
def test_invalid_success_body_is_a_transport_error(
    connect: Connect, fake: StrictFake, tmp_path: Path, operation: str, body: bytes
) -> None:
    error = error_of(connect, fake, Response(200, body), OPERATIONS[operation], tmp_path)

    assert isinstance(error, TransportError)
    assert error.may_have_arrived
    assert (error.status, error.code) == (200, "transport_error")
    assert "127.0.0.1" in str(error)


def test_html_404_is_a_transport_error(connect: Connect, fake: StrictFake) -> None:
    for operation in ("download", "exists", "status"):
        error = error_of(connect, fake, Response(404, b"<html>", HTML), OPERATIONS[operation])
        assert isinstance(error, TransportError)
        assert (error.status, error.may_have_arrived) == (404, False)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_redirects_are_not_followed(
    connect: Connect, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    redirection = Response(302, b"", {"location": "/v8/artifacts/status"})
    error = error_of(connect, fake, redirection, OPERATIONS[operation], tmp_path)

    assert isinstance(error, TransportError)
    assert "302" in str(error)
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "step", [Response(401), Response(302), Disconnect(), Response(200, b"<html>"), None]
)
def test_token_appears_in_no_error_or_repr(connect: Connect, fake: StrictFake, step: Any) -> None:
    fake.token = SECRET
    client = connect(bearer_token=SECRET, server_url=fake.url, retries=0)
    if step is None:
        fake.close()
    else:
        fake.script(step)

    with pytest.raises(HitrateError) as raised:
        client.status()

    link: BaseException | None = raised.value
    texts = [repr(client.client), str(vars(client.client)), *traceback.format_exception(link)]
    while link is not None:
        texts += [str(link), repr(link), str(vars(link))]
        link = link.__cause__ or link.__context__
    assert not [text for text in texts if SECRET in text]


@pytest.mark.parametrize(
    "error",
    [
        TransportError("gone", may_have_arrived=True),
        RateLimited("slowly", status=429, retry_after=3, request_id="r"),
        Forbidden("no", status=403, code="remote_caching_paused"),
    ],
)
def test_errors_survive_pickling(error: HitrateError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
