"""Uploads and downloads of artifacts, and their metadata, with both clients."""

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
from tests.support.client_adapter import ClientAdapter
from tests.support.strict_fake import Response, StrictFake, Truncate

CONTENT = random.Random("an artifact").randbytes(600_000)
LARGE = random.Random("a large one").randbytes(5 * 1024 * 1024)
NO_METADATA: dict[str, Any] = {}
ALL_METADATA: dict[str, Any] = {
    "x_artifact_duration": 400,
    "x_artifact_tag": "T" * 600,
    "x_artifact_sha": "a1" * 20,
    "x_artifact_dirty_hash": "b2" * 32,
}
CLIENT_INFO = {"x_artifact_client_ci": "GITHUB_ACTIONS", "x_artifact_client_interactive": 0}


class Pipe(io.BytesIO):
    """A file that is not seekable."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("Illegal seek")


def open_at(path: Path, content: bytes, position: int = 0) -> io.BufferedReader:
    path.write_bytes(content)
    file = path.open("rb")
    file.seek(position)
    return file


def write_content(path: Path) -> Path:
    path.write_bytes(CONTENT)
    return path


async def async_chunks() -> AsyncIterator[bytes]:
    for chunk in (CONTENT[:1], b"", CONTENT[1:]):
        yield chunk


SOURCES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _path: CONTENT,
    "bytearray": lambda _path: bytearray(CONTENT),
    "memoryview": lambda _path: memoryview(CONTENT),
    "memoryview of numbers": lambda _path: memoryview(CONTENT).cast("I"),
    "path": write_content,
    "file": lambda path: open_at(path, CONTENT),
    "partly read file": lambda path: open_at(path, b"before" + CONTENT, len(b"before")),
    "BytesIO": lambda _path: io.BytesIO(CONTENT),
    "pipe": lambda _path: Pipe(CONTENT),
    "iterator": lambda _path: iter([CONTENT[:1], b"", CONTENT[1:]]),
}


WITH_LENGTH = pytest.mark.parametrize(
    "with_length", [False, True], ids=["without length", "with length"]
)


@WITH_LENGTH
@pytest.mark.parametrize("source", SOURCES)
def test_upload_accepts_every_type_of_source(
    client: ClientAdapter,
    cache: Cache,
    unique: str,
    tmp_path: Path,
    source: str,
    with_length: bool,
) -> None:
    content = SOURCES[source](tmp_path / "content")
    assert_uploads(
        client,
        cache,
        unique,
        content,
        with_length,
        length_is_known=source not in ("pipe", "iterator"),
    )
    if isinstance(content, io.IOBase):
        content.close()


@WITH_LENGTH
@pytest.mark.parametrize("connect", [AsyncHitrate], ids=["AsyncHitrate"], indirect=True)
def test_upload_accepts_an_async_iterator(
    client: ClientAdapter, cache: Cache, unique: str, with_length: bool
) -> None:
    assert_uploads(client, cache, unique, async_chunks(), with_length, length_is_known=False)


def assert_uploads(
    client: ClientAdapter,
    cache: Cache,
    unique: str,
    content: Any,
    with_length: bool,
    *,
    length_is_known: bool,
) -> None:
    progress: list[tuple[int, int | None]] = []

    client.upload(
        unique,
        content,
        content_length=len(CONTENT) if with_length else None,
        progress=lambda *step: progress.append(step),
    )

    total = len(CONTENT) if length_is_known or with_length else None
    assert progress == sorted(progress, key=lambda step: step[0])
    assert progress[-1] == (len(CONTENT), total)
    if isinstance(cache, StrictFake):
        expected = [str(total), None] if total is not None else [None, "chunked"]
        assert framing_headers(cache) == expected
    assert client.download(unique).content == CONTENT


def framing_headers(fake: StrictFake) -> list[str | None]:
    headers = fake.requests[-1].headers
    return [headers.get("content-length"), headers.get("transfer-encoding")]


@pytest.mark.parametrize("content", [b"", LARGE], ids=["empty", "5 MB"])
def test_every_download_method_returns_the_uploaded_bytes(
    client: ClientAdapter, cache: Cache, unique: str, tmp_path: Path, content: bytes
) -> None:
    progress: list[list[tuple[int, int | None]]] = [[], [], []]
    memory, file, stream = (steps.append for steps in progress)

    response = client.upload(unique, content, **CLIENT_INFO)

    assert response.urls == [f"{cache.url}/v8/artifacts/{unique}"]
    artifact = client.download(unique, progress=lambda *step: memory(step), **CLIENT_INFO)
    path = tmp_path / "artifact"
    path.write_text("an older file")
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
@pytest.mark.parametrize("options", [NO_METADATA, ALL_METADATA], ids=["none", "all"])
def test_metadata_is_returned_by_exists_download_and_query(
    client: ClientAdapter,
    cache: Cache,
    unique: str,
    options: dict[str, Any],
    duration: float,
    sent: str,
) -> None:
    sent_options = {**options, "x_artifact_duration": duration} if options else {}
    metadata = ArtifactMetadata(
        size_bytes=3,
        duration_ms=sent_options.get("x_artifact_duration"),
        tag=sent_options.get("x_artifact_tag"),
        sha=sent_options.get("x_artifact_sha"),
        dirty_hash=sent_options.get("x_artifact_dirty_hash"),
    )

    client.upload(unique, b"abc", **sent_options)

    if isinstance(cache, StrictFake):
        assert cache.requests[-1].headers.get("x-artifact-duration") == (sent if options else None)
    assert client.exists(unique) == metadata
    assert client.download(unique).metadata == metadata
    info = ArtifactInfo(3, metadata.duration_ms or 0, metadata.tag)
    assert client.query([unique, "nope"]) == {unique: info, "nope": None}


def test_upload_replaces_content_and_metadata(client: ClientAdapter, unique: str) -> None:
    client.upload(unique, b"old", **ALL_METADATA)
    client.upload(unique, b"newer")

    assert client.download(unique).metadata == ArtifactMetadata(size_bytes=5)


def test_missing_artifact_is_none_or_raises_not_found(
    client: ClientAdapter, unique: str, tmp_path: Path
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


def test_query_returns_the_problem_of_an_invalid_hash(client: ClientAdapter, cache: Cache) -> None:
    if isinstance(cache, StrictFake):
        cache.script(Response(200, {"invalid hash": {"error": {"message": "No hash"}}}))

    problem = client.query(["invalid hash"])["invalid hash"]

    assert isinstance(problem, ArtifactProblem)
    assert "hash" in problem.message.lower()


@pytest.mark.parametrize("existing", [[], ["artifact"]], ids=["no file", "an older file"])
def test_interrupted_download_changes_no_file(
    fake_client: ClientAdapter, fake: StrictFake, tmp_path: Path, existing: list[str]
) -> None:
    for name in existing:
        (tmp_path / name).write_text("older")
    fake_client.upload("h", CONTENT)
    fake.script(*[Truncate(500_000)] * 3)

    with pytest.raises(TransportError):
        fake_client.download_to("h", tmp_path / "artifact")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        existing, "older"
    )


@pytest.mark.parametrize(
    "name",
    ["a/b", "../x", "a b", "100%", "%2F", "a?b=c&d", "a#b", "ä€😀", "..a", "events2", "~+;="],
)
def test_hash_may_contain_any_characters(
    fake_client: ClientAdapter, fake: StrictFake, name: str
) -> None:
    fake_client.upload(name, b"content")

    assert set(fake.artifacts) == {name}
    assert fake_client.download(name).content == b"content"
    assert fake_client.exists(name) is not None
    assert fake_client.query([name])[name] is not None


@pytest.mark.parametrize("error", [UnicodeError("mine"), httpx.ReadError("mine")], ids=type)
def test_exceptions_of_callbacks_and_iterators_are_raised_unchanged(
    connect: Connect, error: Exception
) -> None:
    def raises(*_: object) -> bytes:
        raise error

    with StrictFake() as fake:  # a separate one, because the incomplete request is a violation
        client = connect(bearer_token=fake.token, server_url=fake.url)
        with pytest.raises(type(error), match="mine"):
            client.upload("h", b"content", progress=raises)
        with pytest.raises(type(error), match="mine"):
            client.upload("h", map(raises, [1]))


def test_download_to_follows_symlinks_and_never_replaces_special_files(
    fake_client: ClientAdapter, tmp_path: Path
) -> None:
    fake_client.upload("h", b"content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")

    fake_client.download_to("h", tmp_path / "link")
    with pytest.raises(OSError, match="Not a regular file"):
        fake_client.download_to("h", tmp_path / "fifo")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "fifo").is_fifo()
