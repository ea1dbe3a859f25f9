"""Holds both clients to how artifacts travel: uploads, downloads, and what is known of them."""

from __future__ import annotations

import io
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hitrate.client import (
    ArtifactInfo,
    ArtifactMetadata,
    ArtifactProblem,
    AsyncHitrate,
    NotFound,
    TransportError,
)
from tests.python_client.conftest import Cache, Connect
from tests.support.client_adapter import Facade
from tests.support.strict_fake import Answer, StrictFake, Truncate

CONTENT = random.Random("an artifact").randbytes(600_000)
LARGE = random.Random("a large one").randbytes(5 * 1024 * 1024)
NOTHING_KNOWN: dict[str, Any] = {}
ALL_KNOWN: dict[str, Any] = {
    "x_artifact_duration": 400,
    "x_artifact_tag": "T" * 600,
    "x_artifact_sha": "a1" * 20,
    "x_artifact_dirty_hash": "b2" * 32,
}
FACTS = {"x_artifact_client_ci": "GITHUB_ACTIONS", "x_artifact_client_interactive": 0}


class Pipe(io.BytesIO):
    """A file that nobody can go back in."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("Illegal seek")


def opened(path: Path, content: bytes, position: int = 0) -> io.BufferedReader:
    path.write_bytes(content)
    file = path.open("rb")
    file.seek(position)
    return file


def written(path: Path) -> Path:
    path.write_bytes(CONTENT)
    return path


async def async_pieces() -> AsyncIterator[bytes]:
    for piece in (CONTENT[:1], b"", CONTENT[1:]):
        yield piece


FORMS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _path: CONTENT,
    "bytearray": lambda _path: bytearray(CONTENT),
    "memoryview": lambda _path: memoryview(CONTENT),
    "memoryview of numbers": lambda _path: memoryview(CONTENT).cast("I"),
    "path": written,
    "file": lambda path: opened(path, CONTENT),
    "file from its middle": lambda path: opened(path, b"before" + CONTENT, len(b"before")),
    "BytesIO": lambda _path: io.BytesIO(CONTENT),
    "pipe": lambda _path: Pipe(CONTENT),
    "iterator": lambda _path: iter([CONTENT[:1], b"", CONTENT[1:]]),
}


TOLD = pytest.mark.parametrize("told", [False, True], ids=["length not told", "length told"])


@TOLD
@pytest.mark.parametrize("form", FORMS)
def test_content_of_every_form_arrives(
    client: Facade, cache: Cache, unique: str, tmp_path: Path, form: str, told: bool
) -> None:
    content = FORMS[form](tmp_path / "content")
    assert_arrives(client, cache, unique, content, told, known=form not in ("pipe", "iterator"))
    if isinstance(content, io.IOBase):
        content.close()


@TOLD
@pytest.mark.parametrize("connect", [AsyncHitrate], ids=["AsyncHitrate"], indirect=True)
def test_content_from_an_async_iterator_arrives(
    client: Facade, cache: Cache, unique: str, told: bool
) -> None:
    assert_arrives(client, cache, unique, async_pieces(), told, known=False)


def assert_arrives(
    client: Facade, cache: Cache, unique: str, content: Any, told: bool, *, known: bool
) -> None:
    progress: list[tuple[int, int | None]] = []

    client.upload(
        unique,
        content,
        content_length=len(CONTENT) if told else None,
        progress=lambda *step: progress.append(step),
    )

    total = len(CONTENT) if known or told else None
    assert progress == sorted(progress, key=lambda step: step[0])
    assert progress[-1] == (len(CONTENT), total)
    if isinstance(cache, StrictFake):
        sent = fake_sizes(cache)
        assert sent == ([str(total), None] if total is not None else [None, "chunked"])
    assert client.download(unique).content == CONTENT


def fake_sizes(fake: StrictFake) -> list[str | None]:
    headers = fake.received[-1].headers
    return [headers.get("content-length"), headers.get("transfer-encoding")]


@pytest.mark.parametrize("content", [b"", LARGE], ids=["empty", "5 MB"])
def test_an_artifact_comes_back_byte_for_byte_in_every_way(
    client: Facade, cache: Cache, unique: str, tmp_path: Path, content: bytes
) -> None:
    progress: list[list[tuple[int, int | None]]] = [[], [], []]
    memory, file, stream = (steps.append for steps in progress)

    answer = client.upload(unique, content, **FACTS)

    assert answer.urls == [f"{cache.url}/v8/artifacts/{unique}"]
    artifact = client.download(unique, progress=lambda *step: memory(step), **FACTS)
    path = tmp_path / "artifact"
    path.write_text("an older one")
    metadata = client.download_to(unique, path, progress=lambda *step: file(step))
    with client.stream(unique, progress=lambda *step: stream(step)) as download:
        assert download.metadata.size_bytes == len(content)
        chunks = list(download.chunks)
    assert [artifact.content, path.read_bytes(), b"".join(chunks)] == [content] * 3
    assert artifact.metadata == metadata == ArtifactMetadata(size_bytes=len(content))
    assert list(tmp_path.iterdir()) == [path]
    for steps in progress:
        assert steps == sorted(steps)
        assert steps[-1:] == ([(len(content), len(content))] if content else [])


@pytest.mark.parametrize(
    ("duration", "sent"),
    [(400, "400"), (400.0, "400"), (0.5, "0.5"), (0, "0"), (0.00001, "0.00001")],
)
@pytest.mark.parametrize("known", [NOTHING_KNOWN, ALL_KNOWN], ids=["nothing", "all"])
def test_what_is_known_of_an_artifact_comes_back_with_it(
    client: Facade, cache: Cache, unique: str, known: dict[str, Any], duration: float, sent: str
) -> None:
    facts = {**known, "x_artifact_duration": duration} if known else {}
    metadata = ArtifactMetadata(
        size_bytes=3,
        duration_ms=facts.get("x_artifact_duration"),
        tag=facts.get("x_artifact_tag"),
        sha=facts.get("x_artifact_sha"),
        dirty_hash=facts.get("x_artifact_dirty_hash"),
    )

    client.upload(unique, b"abc", **facts)

    if isinstance(cache, StrictFake):
        assert cache.received[-1].headers.get("x-artifact-duration") == (sent if known else None)
    assert client.exists(unique) == metadata
    assert client.download(unique).metadata == metadata
    info = ArtifactInfo(3, metadata.duration_ms or 0, metadata.tag)
    assert client.query([unique, "nope"]) == {unique: info, "nope": None}


def test_an_upload_replaces_an_artifact_altogether(client: Facade, unique: str) -> None:
    client.upload(unique, b"old", **ALL_KNOWN)
    client.upload(unique, b"newer")

    assert client.download(unique).metadata == ArtifactMetadata(size_bytes=5)


def test_an_artifact_that_nobody_uploaded_is_not_there(
    client: Facade, unique: str, tmp_path: Path
) -> None:
    assert client.exists(unique) is None
    assert client.query([unique]) == {unique: None}
    assert client.query([]) == {}
    with pytest.raises(NotFound):
        client.download(unique)
    with pytest.raises(NotFound):
        client.download_to(unique, tmp_path / "artifact")
    with pytest.raises(NotFound), client.stream(unique):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_query_tells_of_a_hash_that_the_server_cannot_answer_for(
    client: Facade, cache: Cache
) -> None:
    if isinstance(cache, StrictFake):
        cache.script(Answer(200, {"odd one": {"error": {"message": "No hash"}}}))

    problem = client.query(["odd one"])["odd one"]

    assert isinstance(problem, ArtifactProblem)
    assert "hash" in problem.message.lower()


@pytest.mark.parametrize("existing", [[], ["artifact"]], ids=["no file", "an older file"])
def test_a_download_that_breaks_off_changes_no_file(
    judged: Facade, fake: StrictFake, tmp_path: Path, existing: list[str]
) -> None:
    for name in existing:
        (tmp_path / name).write_text("older")
    judged.upload("h", CONTENT)
    fake.script(*[Truncate(500_000)] * 3)

    with pytest.raises(TransportError):
        judged.download_to("h", tmp_path / "artifact")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        existing, "older"
    )


@pytest.mark.parametrize(
    "name",
    ["a/b", "../x", "a b", "100%", "%2F", "a?b=c&d", "a#b", "ä€😀", "..a", "events2", "~+;="],
)
def test_a_hash_may_have_any_characters(judged: Facade, fake: StrictFake, name: str) -> None:
    judged.upload(name, b"content")

    assert set(fake.artifacts) == {name}
    assert judged.download(name).content == b"content"
    assert judged.exists(name) is not None
    assert judged.query([name])[name] is not None


@pytest.mark.parametrize("error", [UnicodeError("mine"), httpx.ReadError("mine")], ids=type)
def test_what_the_callers_own_code_raises_stays_as_it_is(
    connect: Connect, error: Exception
) -> None:
    def raises(*_: object) -> bytes:
        raise error

    with StrictFake() as fake:  # Its own: what has been sent until then is a violation.
        client = connect(bearer_token=fake.token, server_url=fake.url)
        with pytest.raises(type(error), match="mine"):
            client.upload("h", b"content", progress=raises)
        with pytest.raises(type(error), match="mine"):
            client.upload("h", map(raises, [1]))


def test_a_download_goes_where_a_link_leads_and_never_in_place_of_a_device(
    judged: Facade, tmp_path: Path
) -> None:
    judged.upload("h", b"content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")

    judged.download_to("h", tmp_path / "link")
    with pytest.raises(OSError, match="Not a regular file"):
        judged.download_to("h", tmp_path / "fifo")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "fifo").is_fifo()
