"""Holds both clients to what they try again, when, and what they never do twice."""

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
from tests.support.client_adapter import EVENT, OPERATIONS, Facade
from tests.support.strict_fake import (
    Answer,
    HangUp,
    Refuse,
    Stall,
    Step,
    StoredArtifact,
    StrictFake,
    Truncate,
)

CONTENT = bytes(range(256)) * 2000
BUSY = Refuse(503, "unavailable")
RETRIES = 2
SHORTLY = httpx.Timeout(30, read=0.1)
HALF_A_SECOND = 0.5

Send = Callable[[Facade, Path], object]


@pytest.fixture(autouse=True)
def stored(fake: StrictFake) -> None:
    """What the operations ask for is there."""
    fake.artifacts["h"] = StoredArtifact(b"content")


def sending(form: Callable[[Path], Any]) -> Send:
    def send(client: Facade, folder: Path) -> None:
        (folder / "content").write_bytes(CONTENT)
        client.upload("h", form(folder / "content"))

    return send


def send_file(client: Facade, folder: Path) -> None:
    (folder / "content").write_bytes(b"before" + CONTENT)
    with (folder / "content").open("rb") as file:
        file.seek(len(b"before"))
        client.upload("h", file)


def send_iterator(client: Facade, _folder: Path) -> None:
    client.upload("h", iter([CONTENT]), content_length=len(CONTENT))


UPLOADS: dict[str, Send] = {
    "bytes": sending(lambda _path: CONTENT),
    "bytearray": sending(lambda _path: bytearray(CONTENT)),
    "memoryview": sending(lambda _path: memoryview(CONTENT)),
    "path": sending(lambda path: path),
    "BytesIO": sending(lambda _path: io.BytesIO(CONTENT)),
    "file from its middle": send_file,
}
HARMLESS: dict[str, Send] = {name: OPERATIONS[name] for name in OPERATIONS if name != "delete_all"}


@pytest.mark.parametrize("step", [BUSY, Refuse(429, "rate_limited")], ids=["503", "429"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refusal_that_may_pass_is_followed_by_another_attempt(
    judged: Facade, fake: StrictFake, tmp_path: Path, operation: str, step: Step
) -> None:
    fake.script(step, step)

    OPERATIONS[operation](judged, tmp_path)

    assert len(fake.received) == 3
    assert len(judged.pauses) == 2


@pytest.mark.parametrize("step", [Answer(500), Answer(502), HangUp()], ids=["500", "502", "none"])
@pytest.mark.parametrize("send", HARMLESS.values(), ids=HARMLESS)
def test_what_may_have_been_done_is_done_again_where_that_does_no_harm(
    judged: Facade, fake: StrictFake, tmp_path: Path, send: Send, step: Step
) -> None:
    fake.script(step, step)

    send(judged, tmp_path)

    assert len({request.method + request.target for request in fake.received}) == 1
    assert len(fake.received) == 3


@pytest.mark.parametrize("step", [Answer(302), Answer(200, b"<html>")], ids=["302", "no JSON"])
@pytest.mark.parametrize("operation", ["status", "upload", "query", "delete_all"])
def test_an_answer_that_would_be_the_same_again_is_not_asked_for_again(
    judged: Facade, fake: StrictFake, tmp_path: Path, operation: str, step: Step
) -> None:
    fake.script(step)

    with pytest.raises(HitrateError):
        OPERATIONS[operation](judged, tmp_path)

    assert len(fake.received) == 1


@pytest.mark.parametrize("operation", ["status", "upload", "query", "download", "download_to"])
def test_an_answer_that_breaks_off_is_asked_for_again(
    judged: Facade, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    judged.upload("h", CONTENT)
    fake.script(Truncate(3))

    OPERATIONS[operation](judged, tmp_path)

    assert len(fake.received) == 3


@pytest.mark.parametrize("step", [HangUp(), BUSY], ids=["none", "503"])
@pytest.mark.parametrize("send", UPLOADS.values(), ids=UPLOADS)
def test_content_that_can_be_had_again_is_sent_again_from_its_beginning(
    judged: Facade, fake: StrictFake, tmp_path: Path, send: Send, step: Step
) -> None:
    fake.script(step, step)

    send(judged, tmp_path)

    assert [request.body for request in fake.received] == [CONTENT] * 3
    assert fake.artifacts["h"].content == CONTENT


@pytest.mark.parametrize("store", [False, True], ids=["lost", "stored"])
def test_events_that_got_no_answer_come_again_byte_for_byte_and_count_once(
    judged: Facade, fake: StrictFake, store: bool
) -> None:
    fake.script(HangUp(store), HangUp(store))

    judged.record_events([EVENT, {**EVENT, "hash": "ä"}])

    assert len(fake.received) == 3
    assert len({request.body for request in fake.received}) == 1
    assert len(fake.events) == 2


@pytest.mark.parametrize(
    ("send", "step"),
    [
        (OPERATIONS["delete_all"], HangUp()),
        (OPERATIONS["delete_all"], HangUp(store=True)),
        (OPERATIONS["delete_all"], Answer(500)),
        (OPERATIONS["delete_all"], Answer(504)),
        (send_iterator, HangUp()),
        (send_iterator, BUSY),
        (send_iterator, Refuse(429, "rate_limited")),
        *((send, Answer(501)) for send in OPERATIONS.values()),
        *((send, Refuse(403, "forbidden")) for send in OPERATIONS.values()),
        *((send, Answer(status)) for status in (400, 401, 402, 409) for send in HARMLESS.values()),
    ],
)
def test_what_may_harm_or_cannot_help_is_not_done_again(
    judged: Facade, fake: StrictFake, tmp_path: Path, send: Send, step: Step
) -> None:
    fake.script(step)

    with pytest.raises(HitrateError):
        send(judged, tmp_path)

    assert len(fake.received) == 1
    assert judged.pauses == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_is_not_there_is_tried_again(
    judged: Facade, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    fake.close()

    with pytest.raises(TransportError) as raised:
        OPERATIONS[operation](judged, tmp_path)

    assert not raised.value.may_have_arrived
    assert fake.url in str(raised.value)
    assert len(judged.pauses) == RETRIES


@pytest.mark.parametrize("send", [*OPERATIONS.values(), *UPLOADS.values()])
def test_a_server_that_comes_back_is_found(
    judged: Facade, fake: StrictFake, tmp_path: Path, send: Send
) -> None:
    fake.close()
    judged.on_pause = fake.open

    send(judged, tmp_path)

    assert (len(fake.received), len(judged.pauses)) == (1, 1)


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize("step", [BUSY, HangUp()], ids=["503", "none"])
def test_there_are_so_many_attempts_and_then_the_last_failure(
    connect: Connect, fake: StrictFake, step: Step, retries: int
) -> None:
    client = connect(bearer_token=fake.token, server_url=fake.url, retries=retries)
    fake.script(*[step] * 9)

    with pytest.raises(ServiceUnavailable if step is BUSY else TransportError):
        client.status()

    assert (len(fake.received), len(client.pauses)) == (1 + retries, retries)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("text", ["0", "1", "60", "date"])
def test_a_server_that_says_when_is_obeyed(
    judged: Facade, fake: StrictFake, status: int, text: str
) -> None:
    if text == "date":
        text = formatdate(time.time() + 50, usegmt=True)
    fake.script(Answer(status, b"", {"retry-after": text}))

    judged.status()

    [pause] = judged.pauses
    assert pause == float(text) if text.isdecimal() else 30 < pause <= 50


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServiceUnavailable)])
def test_a_server_that_says_much_later_is_not_waited_for(
    judged: Facade, fake: StrictFake, status: int, kind: type[HitrateError]
) -> None:
    fake.script(Answer(status, b"", {"retry-after": "61"}))

    with pytest.raises(kind) as raised:
        judged.status()

    assert getattr(raised.value, "retry_after", None) == 61
    assert (len(fake.received), judged.pauses) == (1, [])


def test_pauses_grow_and_differ_from_client_to_client(connect: Connect, fake: StrictFake) -> None:
    waits: list[list[float]] = []
    for _ in range(3):
        client = connect(bearer_token=fake.token, server_url=fake.url, retries=8)
        fake.script(*[BUSY] * 8)
        client.status()
        waits.append(client.pauses)

    longest = [0.25, 0.5, 1, 2, 4, 8, 8, 8]
    for pauses in waits:
        assert len(pauses) == len(longest)
        assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len({tuple(pauses) for pauses in waits}) == len(waits)


@pytest.mark.parametrize("times", [1, RETRIES])
def test_a_download_that_breaks_off_is_made_again(
    judged: Facade, fake: StrictFake, tmp_path: Path, times: int
) -> None:
    fake.artifacts["h"] = StoredArtifact(CONTENT)
    path = tmp_path / "artifact"

    fake.script(*[Truncate(300_000)] * times)
    assert judged.download("h").content == CONTENT
    fake.script(*[Truncate(300_000)] * times)
    judged.download_to("h", path)

    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
    assert len(fake.received) == 2 * (times + 1)


def test_a_stream_that_breaks_off_is_a_transport_error(judged: Facade, fake: StrictFake) -> None:
    fake.artifacts["h"] = StoredArtifact(CONTENT)
    fake.script(Truncate(300_000))

    with pytest.raises(TransportError), judged.stream("h") as download:
        took = next(download.chunks)
        for chunk in download.chunks:
            took += chunk

    assert CONTENT.startswith(took)
    assert judged.pauses == []


def test_a_stream_that_breaks_off_is_a_transport_error_where_it_is_read(
    judged: Facade, fake: StrictFake
) -> None:
    fake.artifacts["h"] = StoredArtifact(CONTENT)
    fake.script(Truncate(300_000))

    with judged.stream("h") as download, pytest.raises(TransportError):
        list(download.chunks)


def test_what_a_stream_is_read_for_may_fail_in_its_own_way(
    judged: Facade, fake: StrictFake
) -> None:
    with pytest.raises(ZeroDivisionError), judged.stream("h"):
        raise ZeroDivisionError

    assert judged.status() is not None
    assert len(fake.received) == 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_does_not_answer_is_given_up(
    connect: Connect, fake: StrictFake, tmp_path: Path, operation: str
) -> None:
    client = connect(bearer_token=fake.token, server_url=fake.url, retries=1, timeout=SHORTLY)
    fake.script(Stall(), Stall())

    with pytest.raises(TransportError) as raised:
        OPERATIONS[operation](client, tmp_path)

    assert raised.value.may_have_arrived
    assert len(fake.received) == (1 if operation == "delete_all" else 2)


def test_a_call_may_have_a_timeout_of_its_own(judged: Facade, fake: StrictFake) -> None:
    fake.script(Stall())

    assert judged.query(["h"], timeout=HALF_A_SECOND)["h"] is not None
    assert len(fake.received) == 2


def test_a_call_that_failed_leaves_the_client_whole(judged: Facade, fake: StrictFake) -> None:
    for step in (Refuse(403, "forbidden"), Answer(400, CONTENT)):
        fake.script(step)
        with pytest.raises(HitrateError):
            judged.upload("h", CONTENT)

    judged.upload("h", CONTENT)

    assert judged.download("h").content == CONTENT


def test_the_longest_pause_is_the_clients_to_choose(connect: Connect, fake: StrictFake) -> None:
    client = connect(bearer_token=fake.token, server_url=fake.url, retries=6, max_backoff=0.3)
    fake.script(*[BUSY] * 6)
    client.status()
    assert max(client.pauses) == 0.3
    fake.script(Answer(503, b"", {"retry-after": "1"}))
    with pytest.raises(ServiceUnavailable):
        client.status()
    assert len(client.pauses) == 6
