"""The content of an upload, whatever it comes from, as chunks that can be had again."""

import io
import os
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeGuard

import anyio.to_thread

from hitrate.client._options import Progress
from hitrate.client.errors import BadRequest

CHUNK_BYTES = 256 * 1024

Uploadable = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO | Iterable[bytes]
AsyncUploadable = Uploadable | AsyncIterable[bytes]

_Bytes = bytes | bytearray | memoryview


class Content:
    """One upload's content. `length` in bytes, None where it is not known beforehand."""

    def __init__(self, source: AsyncUploadable, length: int | None, progress: Progress | None):
        if isinstance(source, str):
            raise BadRequest("content is text: give bytes, or pathlib.Path(...) for a file.")
        self._source = source
        self._start = _position(source)
        self._progress = progress
        found = _length_of(source, self._start)
        if length is not None and found is not None and length != found:
            raise BadRequest(f"content_length is {length}, but the content has {found} bytes.")
        self.length = found if length is None else length

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent a second time: an iterator and a pipe can not."""
        return isinstance(self._source, _Bytes | os.PathLike) or self._start is not None

    def chunks(self) -> Iterator[bytes]:
        """The content, from its beginning."""
        sent = 0
        for chunk in self._raw_chunks():
            if not chunk:
                continue
            yield chunk
            sent += len(chunk)
            if self._progress is not None:
                self._progress(sent, self.length)

    async def async_chunks(self) -> AsyncIterator[bytes]:
        """The same, without ever keeping the event loop waiting for a disk."""
        if isinstance(self._source, AsyncIterable):
            sent = 0
            async for chunk in self._source:
                yield chunk
                sent += len(chunk)
                if self._progress is not None:
                    self._progress(sent, self.length)
            return
        chunks = self.chunks()
        while (chunk := await anyio.to_thread.run_sync(next, chunks, b"")) != b"":
            yield chunk

    def _raw_chunks(self) -> Iterator[bytes]:
        source = self._source
        if isinstance(source, _Bytes):
            yield from _file_chunks(io.BytesIO(source))
        elif isinstance(source, os.PathLike):
            with open(source, "rb") as file:  # noqa: PTH123  # reason: any path will do
                yield from _file_chunks(file)
        elif _is_file(source):
            if self._start is not None:
                source.seek(self._start)
            yield from _file_chunks(source)
        elif isinstance(source, Iterable):
            yield from source
        else:
            raise BadRequest("an asynchronous iterator can only be sent by AsyncHitrate.")


@contextmanager
def whole_file(path: os.PathLike[str] | str) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and else leaves no trace."""
    final = Path(path)
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


def _is_file(source: object) -> TypeGuard[BinaryIO]:
    return hasattr(source, "read")


def _file_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        if not isinstance(chunk, bytes):
            raise BadRequest("the file is open as text: open it with mode 'rb'.")
        yield chunk


def _position(source: object) -> int | None:
    """Where a file stands, if one can come back to it."""
    if not _is_file(source):
        return None
    try:
        return source.tell() if source.seekable() else None
    except (OSError, AttributeError):
        return None


def _length_of(source: AsyncUploadable, start: int | None) -> int | None:
    if isinstance(source, memoryview):
        return source.nbytes
    if isinstance(source, bytes | bytearray):
        return len(source)
    if isinstance(source, os.PathLike):
        return os.stat(source).st_size  # noqa: PTH116  # reason: any path will do
    if start is None or not _is_file(source):
        return None
    end = source.seek(0, os.SEEK_END)
    source.seek(start)
    return end - start
