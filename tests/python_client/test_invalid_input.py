"""Both clients reject invalid input before they send anything, and say what is wrong and where."""

from __future__ import annotations

import io
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hitrate.client import AsyncHitrate, BadRequest, RequestBody
from tests.python_client.conftest import Connect
from tests.support.client_adapter import EVENT, ClientAdapter
from tests.support.strict_fake import StrictFake

SECRET = "hr_a-secret-that-must-not-be-printed"


def message_parts_id(value: object) -> str:
    """Return the id of a case: the expected parts of its error message."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    return ""


async def async_chunks() -> AsyncIterator[bytes]:
    yield b"content"


def with_fields(**fields: Any) -> list[Any]:
    return [EVENT, {**EVENT, **fields}]


def without(name: str) -> list[Any]:
    return [EVENT, {key: value for key, value in EVENT.items() if key != name}]


@pytest.mark.parametrize(
    ("events", "message_parts"),
    [
        (with_fields(source="remote"), ["'remote'", "$[1].source"]),
        (with_fields(event="Hit"), ["'Hit'", "$[1].event"]),
        (with_fields(hash=1), ["str", "int", "$[1].hash"]),
        (with_fields(sessionId=None), ["str", "null", "$[1].sessionId"]),
        (with_fields(extra=1), ["extra", "$[1]"]),
        (without("sessionId"), ["sessionId", "$[1]"]),
        (without("source"), ["source", "$[1]"]),
        (without("event"), ["event", "$[1]"]),
        (without("hash"), ["hash", "$[1]"]),
        (with_fields(duration=math.nan), ["duration", "finite", "$[1]"]),
        (with_fields(duration=-math.inf), ["duration", "finite", "$[1]"]),
        (with_fields(duration=True), ["bool", "$[1].duration"]),
        (with_fields(duration="4"), ["str", "$[1].duration"]),
        (with_fields(duration=None), ["null", "$[1].duration"]),
        (with_fields(hash="\ud800"), ["request_body", "surrogates"]),
        ([EVENT, 1], ["int", "$[1]"]),
        ([EVENT, [EVENT]], ["array", "$[1]"]),
        (EVENT, ["list"]),
        ("[]", ["list"]),
        (None, ["request_body", "None"]),
    ],
    ids=message_parts_id,
)
def test_invalid_events_are_not_sent(
    fake_client: ClientAdapter, fake: StrictFake, events: Any, message_parts: list[str]
) -> None:
    assert_not_sent(fake_client, fake, lambda: fake_client.record_events(events), *message_parts)


@pytest.mark.parametrize(
    ("fields", "message_parts"),
    [
        ({"source": "X"}, ["'X'", "$[0].source"]),
        ({"duration": True}, ["bool", "$[0].duration"]),
        ({"hash": b"h"}, ["$[0].hash"]),
    ],
    ids=message_parts_id,
)
def test_invalid_request_body_models_are_not_sent(
    fake_client: ClientAdapter, fake: StrictFake, fields: dict[str, Any], message_parts: list[str]
) -> None:
    valid: dict[str, Any] = {"session_id": "s", "source": "LOCAL", "event": "HIT", "hash": "h"}

    assert_not_sent(
        fake_client,
        fake,
        lambda: fake_client.record_events([RequestBody(**{**valid, **fields})]),
        *message_parts,
    )
    with pytest.raises(ValueError, match="duration"):
        RequestBody(**valid, duration=math.nan)


@pytest.mark.parametrize(
    ("call", "message_parts"),
    [
        (lambda c: c.record_events([], x_artifact_client_ci="c" * 51), ["client_ci", "51", "50"]),
        (lambda c: c.record_events([], x_artifact_client_ci="a\nb"), ["client-ci", "a\\nb"]),
        (lambda c: c.record_events([], x_artifact_client_interactive=2), ["interactive", "2"]),
        (lambda c: c.record_events([], x_artifact_client_interactive="1"), ["interactive", "'1'"]),
        (lambda c: c.record_events([], x_ai_agent="a\r\nb: c"), ["x-ai-agent", "a\\r\\nb"]),
        (lambda c: c.download("h", x_artifact_client_ci="ü"), ["client-ci"]),
        (lambda c: c.upload("h", b"x", x_artifact_tag="t" * 601), ["artifact_tag", "601", "600"]),
        (lambda c: c.upload("h", b"x", x_artifact_tag="\0"), ["artifact-tag", "\\x00"]),
        (lambda c: c.upload("h", b"x", x_artifact_sha="\x7f"), ["artifact-sha", "\\x7f"]),
        (lambda c: c.upload("h", b"x", x_artifact_dirty_hash="\n"), ["dirty-hash", "\\n"]),
        (lambda c: c.upload("h", b"x", x_artifact_duration=math.nan), ["duration", "nan"]),
        (lambda c: c.upload("h", b"x", x_artifact_duration=math.inf), ["duration", "inf"]),
        (lambda c: c.upload("h", b"x", x_artifact_duration=-1), ["duration", "-1"]),
        (lambda c: c.upload("h", b"x", x_artifact_duration="4"), ["duration", "'4'"]),
        (lambda c: c.upload("h", b"x", x_artifact_duration=True), ["duration", "True"]),
        (lambda c: c.upload("h", b"x", content_length=2), ["content_length", "2", "1 byte"]),
        (lambda c: c.upload("h", iter([b"x"]), content_length=-1), ["ontent", "ength"]),
        (lambda c: c.upload("h", "text"), ["content", "text"]),
        (lambda c: c.upload("h", io.StringIO("text")), ["text"]),
        (lambda c: c.upload("h", None), ["content"]),
        (lambda c: c.upload("h", 5), ["content"]),
        *(
            (lambda c, name=name: c.download(name), [repr(name), "hash"])
            for name in ("", ".", "..", "status", "events", None, "\ud800")
        ),
        (lambda c: c.upload("..", b"x"), ["'..'", "hash"]),
        (lambda c: c.exists("events"), ["'events'", "hash"]),
        (lambda c: c.query("h"), ["hashes", "list"]),
        (lambda c: c.query(["h", 1]), ["hashes", "strings"]),
        (lambda c: c.query(["\ud800"]), ["hashes"]),
    ],
    ids=message_parts_id,
)
def test_invalid_calls_are_not_sent(
    fake_client: ClientAdapter,
    fake: StrictFake,
    call: Callable[[ClientAdapter], object],
    message_parts: list[str],
) -> None:
    assert_not_sent(fake_client, fake, lambda: call(fake_client), *message_parts)


def test_text_mode_file_is_not_sent(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path
) -> None:
    path = tmp_path / "content"
    path.write_text("text")
    with path.open() as file:
        assert_not_sent(fake_client, fake, lambda: fake_client.upload("h", file), "text", "'rb'")


def test_async_iterator_is_sent_only_by_the_async_client(
    fake_client: ClientAdapter, fake: StrictFake
) -> None:
    if isinstance(fake_client.client, AsyncHitrate):
        fake_client.upload("h", async_chunks())
        assert fake.artifacts["h"].content == b"content"
    else:
        assert_not_sent(
            fake_client, fake, lambda: fake_client.upload("h", async_chunks()), "AsyncHitrate"
        )


@pytest.mark.parametrize(
    ("content", "length"),
    [([b"abc"], 2), ([b"abc"], 4), (["text"], None)],
    ids=["longer than declared", "shorter than declared", "text"],
)
def test_iterator_with_wrong_length_or_type_raises_bad_request(
    connect: Connect, content: list[Any], length: int | None
) -> None:
    with StrictFake() as fake:  # a separate one, because the incomplete request is a violation
        client = connect(bearer_token=fake.token, server_url=fake.url)
        with pytest.raises(BadRequest):
            client.upload("h", iter(content), content_length=length)
    assert fake.artifacts == {}


@pytest.mark.parametrize("operation", [ClientAdapter.status, ClientAdapter.delete_all])
def test_unknown_option_raises_type_error(
    fake_client: ClientAdapter, fake: StrictFake, operation: Callable[..., object]
) -> None:
    with pytest.raises(TypeError, match="'retries'; the options are slug, team_id"):
        operation(fake_client, retries=5)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("settings", "message_parts"),
    [
        ({"server_url": None}, ["server_url", "TURBO_API"]),
        ({"server_url": ""}, ["server_url", "TURBO_API"]),
        ({"bearer_token": None}, ["bearer_token", "TURBO_TOKEN"]),
        ({"bearer_token": ""}, ["bearer_token", "TURBO_TOKEN"]),
        *(
            ({"server_url": url}, [repr(url), "https://"])
            for url in (
                "cache.example.com",
                "ftp://cache.example.com",
                "https://",
                "https://[::1",
                "https://cache.example.com?a=b",
                "https://cache.example.com?",
                "https://cache.example.com#a",
                "https://cache.example.com:99999",
                "https://cache example.com",
                " https://cache.example.com",
                "https://cache.example.com\n",
            )
        ),
        *(({"bearer_token": token}, ["token"]) for token in (f"{SECRET}\n", f"{SECRET} ", "ü")),
    ],
    ids=message_parts_id,
)
def test_client_requires_a_valid_server_and_token(
    connect: Connect, settings: dict[str, Any], message_parts: list[str]
) -> None:
    with pytest.raises(BadRequest) as raised:
        connect(**{"bearer_token": SECRET, "server_url": "https://cache.example.com", **settings})
    assert raised.value.status is None
    assert [part for part in message_parts if part not in str(raised.value)] == []
    assert SECRET not in str(raised.value)


def assert_not_sent(
    client: ClientAdapter, fake: StrictFake, call: Callable[[], object], *message_parts: str
) -> None:
    """Check that `call` raises BadRequest with these parts of a message, and sends nothing."""
    with pytest.raises(BadRequest) as raised:
        call()
    assert (raised.value.status, raised.value.code) == (None, "bad_request")
    assert [part for part in message_parts if part not in str(raised.value)] == []
    client.status()  # the fake has received earlier requests by then
    fake.close()
    assert [request.path for request in fake.requests] == ["/v8/artifacts/status"]
