"""Retries of both clients: which calls are retried, and after which delay."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from hitrate.client import HitrateError, RateLimited, ServiceUnavailable, TransportError
from tests.python_client.conftest import Connect
from tests.support.client_adapter import EVENT, OPERATIONS, ClientAdapter
from tests.support.strict_fake import (
    Disconnect,
    ErrorResponse,
    Response,
    Stall,
    Step,
    StoredArtifact,
    StrictFake,
    Truncate,
)

CONTENT = bytes(range(256)) * 2000
BUSY = ErrorResponse(503, "unavailable")
RETRIES = 2
SHORT_TIMEOUT = httpx.Timeout(30, read=0.1)
SHORT_TIMEOUT_S = 0.5

Send = Callable[[ClientAdapter, Path], object]


@pytest.fixture(autouse=True)
def stored(fake: StrictFake) -> None:
    """The artifact that the operations read."""
    fake.artifacts["h"] = StoredArtifact(b"content")


def uploader(source: Callable[[Path], Any]) -> Send:
    def send(client: ClientAdapter, directory: Path) -> None:
        (directory / "content").write_bytes(CONTENT)
        client.upload("h", source(directory / "content"))

    return send


def upload_partly_read_file(client: ClientAdapter, directory: Path) -> None:
    (directory / "content").write_bytes(b"before" + CONTENT)
    with (directory / "content").open("rb") as file:
        file.seek(len(b"before"))
        client.upload("h", file)


def upload_iterator(client: ClientAdapter, _directory: Path) -> None:
    client.upload("h", iter([CONTENT]), content_length=len(CONTENT))


UPLOADS: dict[str, Send] = {
    "bytes": uploader(lambda _path: CONTENT),
    "bytearray": uploader(lambda _path: bytearray(CONTENT)),
    "memoryview": uploader(lambda _path: memoryview(CONTENT)),
    "path": uploader(lambda path: path),
    "BytesIO": uploader(lambda _path: io.BytesIO(CONTENT)),
    "partly read file": upload_partly_read_file,
}
IDEMPOTENT: dict[str, Send] = {
    name: OPERATIONS[name] for name in OPERATIONS if name != "delete_all"
}


@pytest.mark.parametrize("step", [BUSY, ErrorResponse(429, "rate_limited")], ids=["503", "429"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_temporary_rejection_is_retried(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, operation: str, step: Step
) -> None:
    fake.script(step, step)

    OPERATIONS[operation](fake_client, tmp_path)

    assert len(fake.requests) == 3
    assert len(fake_client.pauses) == 2


@pytest.mark.parametrize(
    "step", [Response(500), Response(502), Disconnect()], ids=["500", "502", "no response"]
)
@pytest.mark.parametrize("send", IDEMPOTENT.values(), ids=IDEMPOTENT)
def test_idempotent_calls_are_retried_after_an_unknown_outcome(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, send: Send, step: Step
) -> None:
    fake.script(step, step)

    send(fake_client, tmp_path)

    assert len({request.method + request.target for request in fake.requests}) == 1
    assert len(fake.requests) == 3


@pytest.mark.parametrize("step", [Response(302), Response(200, b"<html>")], ids=["302", "not JSON"])
@pytest.mark.parametrize("operation", ["status", "upload", "query", "delete_all"])
def test_unexpected_responses_are_not_retried(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, operation: str, step: Step
) -> None:
    fake.script(step)

    with pytest.raises(HitrateError):
        OPERATIONS[operation](fake_client, tmp_path)

    assert len(fake.requests) == 1


@pytest.mark.parametrize("operation", ["status", "upload", "query", "download", "download_to"])
def test_truncated_response_is_retried(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    fake_client.upload("h", CONTENT)
    fake.script(Truncate(3))

    OPERATIONS[operation](fake_client, tmp_path)

    assert len(fake.requests) == 3


@pytest.mark.parametrize("step", [Disconnect(), BUSY], ids=["no response", "503"])
@pytest.mark.parametrize("send", UPLOADS.values(), ids=UPLOADS)
def test_rewindable_content_is_re_sent_from_its_beginning(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, send: Send, step: Step
) -> None:
    fake.script(step, step)

    send(fake_client, tmp_path)

    assert [request.body for request in fake.requests] == [CONTENT] * 3
    assert fake.artifacts["h"].content == CONTENT


@pytest.mark.parametrize("store", [False, True], ids=["lost", "stored"])
def test_events_without_a_response_are_re_sent_byte_for_byte_and_counted_once(
    fake_client: ClientAdapter, fake: StrictFake, store: bool
) -> None:
    fake.script(Disconnect(store), Disconnect(store))

    fake_client.record_events([EVENT, {**EVENT, "hash": "ä"}])

    assert len(fake.requests) == 3
    assert len({request.body for request in fake.requests}) == 1
    assert len(fake.events) == 2


@pytest.mark.parametrize(
    ("send", "step"),
    [
        (OPERATIONS["delete_all"], Disconnect()),
        (OPERATIONS["delete_all"], Disconnect(store=True)),
        (OPERATIONS["delete_all"], Response(500)),
        (OPERATIONS["delete_all"], Response(504)),
        (upload_iterator, Disconnect()),
        (upload_iterator, BUSY),
        (upload_iterator, ErrorResponse(429, "rate_limited")),
        *((send, Response(501)) for send in OPERATIONS.values()),
        *((send, ErrorResponse(403, "forbidden")) for send in OPERATIONS.values()),
        *(
            (send, Response(status))
            for status in (400, 401, 402, 409)
            for send in IDEMPOTENT.values()
        ),
    ],
)
def test_non_idempotent_calls_and_permanent_errors_are_not_retried(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, send: Send, step: Step
) -> None:
    fake.script(step)

    with pytest.raises(HitrateError):
        send(fake_client, tmp_path)

    assert len(fake.requests) == 1
    assert fake_client.pauses == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_connection_failure_is_retried(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    fake.close()

    with pytest.raises(TransportError) as raised:
        OPERATIONS[operation](fake_client, tmp_path)

    assert not raised.value.may_have_arrived
    assert fake.url in str(raised.value)
    assert len(fake_client.pauses) == RETRIES


@pytest.mark.parametrize("send", [*OPERATIONS.values(), *UPLOADS.values()])
def test_call_succeeds_if_the_server_returns_during_the_backoff(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, send: Send
) -> None:
    fake.close()
    fake_client.on_pause = fake.open

    send(fake_client, tmp_path)

    assert (len(fake.requests), len(fake_client.pauses)) == (1, 1)


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize("step", [BUSY, Disconnect()], ids=["503", "no response"])
def test_retries_limits_the_attempts_and_the_last_error_is_raised(
    connect: Connect, fake: StrictFake, step: Step, retries: int
) -> None:
    client = connect(bearer_token=fake.token, server_url=fake.url, retries=retries)
    fake.script(*[step] * 9)

    with pytest.raises(ServiceUnavailable if step is BUSY else TransportError):
        client.status()

    assert (len(fake.requests), len(client.pauses)) == (1 + retries, retries)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("text", ["0", "1", "60", "date"])
def test_retry_after_sets_the_backoff(
    fake_client: ClientAdapter, fake: StrictFake, status: int, text: str
) -> None:
    if text == "date":
        text = formatdate(time.time() + 50, usegmt=True)
    fake.script(Response(status, b"", {"retry-after": text}))

    fake_client.status()

    [pause] = fake_client.pauses
    assert pause == float(text) if text.isdecimal() else 30 < pause <= 50


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServiceUnavailable)])
def test_retry_after_above_max_backoff_raises_immediately(
    fake_client: ClientAdapter, fake: StrictFake, status: int, kind: type[HitrateError]
) -> None:
    fake.script(Response(status, b"", {"retry-after": "61"}))

    with pytest.raises(kind) as raised:
        fake_client.status()

    assert getattr(raised.value, "retry_after", None) == 61
    assert (len(fake.requests), fake_client.pauses) == (1, [])


def test_backoff_grows_exponentially_with_jitter(connect: Connect, fake: StrictFake) -> None:
    all_pauses: list[list[float]] = []
    for _ in range(3):
        client = connect(bearer_token=fake.token, server_url=fake.url, retries=8)
        fake.script(*[BUSY] * 8)
        client.status()
        all_pauses.append(client.pauses)

    max_pauses = [0.25, 0.5, 1, 2, 4, 8, 8, 8]
    for pauses in all_pauses:
        assert len(pauses) == len(max_pauses)
        assert all(
            maximum / 2 <= p <= maximum for p, maximum in zip(pauses, max_pauses, strict=True)
        )
    assert len({tuple(pauses) for pauses in all_pauses}) == len(all_pauses)


@pytest.mark.parametrize("times", [1, RETRIES])
def test_interrupted_download_is_retried(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, times: int
) -> None:
    fake.artifacts["h"] = StoredArtifact(CONTENT)
    path = tmp_path / "artifact"

    fake.script(*[Truncate(300_000)] * times)
    assert fake_client.download("h").content == CONTENT
    fake.script(*[Truncate(300_000)] * times)
    fake_client.download_to("h", path)

    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
    assert len(fake.requests) == 2 * (times + 1)


def test_interrupted_stream_raises_transport_error_from_the_context(
    fake_client: ClientAdapter, fake: StrictFake
) -> None:
    fake.artifacts["h"] = StoredArtifact(CONTENT)
    fake.script(Truncate(300_000))

    with pytest.raises(TransportError), fake_client.stream("h") as download:
        content = next(download.chunks)
        for chunk in download.chunks:
            content += chunk

    assert CONTENT.startswith(content)
    assert fake_client.pauses == []


def test_interrupted_stream_raises_transport_error_from_the_iterator(
    fake_client: ClientAdapter, fake: StrictFake
) -> None:
    fake.artifacts["h"] = StoredArtifact(CONTENT)
    fake.script(Truncate(300_000))

    with fake_client.stream("h") as download, pytest.raises(TransportError):
        list(download.chunks)


def test_exception_in_a_stream_block_is_raised_unchanged(
    fake_client: ClientAdapter, fake: StrictFake
) -> None:
    with pytest.raises(ZeroDivisionError), fake_client.stream("h"):
        raise ZeroDivisionError

    assert fake_client.status() is not None
    assert len(fake.requests) == 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unresponsive_server_raises_transport_error_after_the_timeout(
    connect: Connect, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    client = connect(bearer_token=fake.token, server_url=fake.url, retries=1, timeout=SHORT_TIMEOUT)
    fake.script(Stall(), Stall())

    with pytest.raises(TransportError) as raised:
        OPERATIONS[operation](client, tmp_path)

    assert raised.value.may_have_arrived
    assert len(fake.requests) == (1 if operation == "delete_all" else 2)


def test_call_option_overrides_the_timeout(fake_client: ClientAdapter, fake: StrictFake) -> None:
    fake.script(Stall())

    assert fake_client.query(["h"], timeout=SHORT_TIMEOUT_S)["h"] is not None
    assert len(fake.requests) == 2


def test_client_is_usable_after_a_failed_call(fake_client: ClientAdapter, fake: StrictFake) -> None:
    for step in (ErrorResponse(403, "forbidden"), Response(400, CONTENT)):
        fake.script(step)
        with pytest.raises(HitrateError):
            fake_client.upload("h", CONTENT)

    fake_client.upload("h", CONTENT)

    assert fake_client.download("h").content == CONTENT


def test_max_backoff_limits_the_delay(connect: Connect, fake: StrictFake) -> None:
    client = connect(bearer_token=fake.token, server_url=fake.url, retries=6, max_backoff=0.3)
    fake.script(*[BUSY] * 6)
    client.status()
    assert max(client.pauses) == 0.3
    fake.script(Response(503, b"", {"retry-after": "1"}))
    with pytest.raises(ServiceUnavailable):
        client.status()
    assert len(client.pauses) == 6
