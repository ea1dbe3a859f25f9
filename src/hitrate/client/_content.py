"""Upload content from any source as chunks, and atomic writing of files."""

import errno
import io
import os
import stat
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeGuard, runtime_checkable

import anyio.to_thread

from hitrate.client._options import Progress
from hitrate.client.errors import BadRequest

CHUNK_BYTES = 256 * 1024

Uploadable = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO | Iterable[bytes]
AsyncUploadable = Uploadable | AsyncIterable[bytes]

_Bytes = bytes | bytearray | memoryview


@runtime_checkable
class _Readable(Protocol):
    """A binary file, as distinct from other content."""

    def read(self, size: int, /) -> bytes: ...


class Content:
    """Content of one upload. `length` in bytes, None if it is unknown.

    Raises BadRequest for an invalid source, and OSError for a missing file.
    """

    def __init__(self, source: AsyncUploadable, length: int | None, progress: Progress | None):
        _check(source)
        self._source = source
        self._start = _position(source)
        self._progress = progress
        self.is_broken = False
        """Whether the source or the progress callback has raised."""
        actual_length = _length_of(source, self._start)
        if length is not None and (length < 0 or actual_length not in (None, length)):
            raise BadRequest(
                f"content_length is {length}, but the content has {actual_length} bytes."
            )
        self.length = actual_length if length is None else length
        # An iterator and a pipe can be read only once.
        self.repeatable = actual_length is not None

    def chunks(self) -> Iterator[bytes]:
        """Yield the content from its beginning. Raises BadRequest for an async source."""
        if isinstance(self._source, AsyncIterable):
            raise BadRequest("An asynchronous iterator needs AsyncHitrate.")
        return self._count_chunks(self._source)

    async def async_chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the content from its beginning, reading files in a thread."""
        count = _ProgressCounter(self.length, self._progress)
        async with aclosing(_async_chunks(self._source, self._start)) as chunks:
            try:
                async for chunk in chunks:
                    yield count.add(chunk)
                    count.report()
                count.finish()
            except Exception:
                self.is_broken = True
                raise

    def _count_chunks(self, source: Uploadable) -> Iterator[bytes]:
        count = _ProgressCounter(self.length, self._progress)
        try:
            for chunk in _chunks(source, self._start):
                yield count.add(chunk)
                count.report()
            count.finish()
        except Exception:
            self.is_broken = True
            raise


class _ProgressCounter:
    """Counts the bytes that were read and checks them against the declared length."""

    def __init__(self, length: int | None, progress: Progress | None) -> None:
        self._length = length
        self._progress = progress
        self._done = 0

    def add(self, chunk: Any) -> bytes:
        if not isinstance(chunk, _Bytes):
            raise BadRequest(
                f"The content yields {type(chunk).__name__} instead of bytes; is it text?"
            )
        plain = bytes(chunk)
        self._done += len(plain)
        if self._length is not None and self._done > self._length:
            raise BadRequest(f"content_length is {self._length}, but the content has more bytes.")
        return plain

    def report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._length)

    def finish(self) -> None:
        if self._length is not None and self._done < self._length:
            raise BadRequest(
                f"content_length is {self._length}, but the content has {self._done} bytes."
            )


@contextmanager
def atomic_write(path: os.PathLike[str] | str) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` on success and is deleted on failure."""
    final = Path(path).resolve()
    if final.exists() and not final.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    if not final.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    part = final.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


async def _async_chunks(source: AsyncUploadable, start: int | None) -> AsyncGenerator[bytes, None]:
    if isinstance(source, AsyncIterable):
        async for chunk in source:
            if chunk:
                yield chunk
        return
    chunks = _chunks(source, start)
    while chunk := await anyio.to_thread.run_sync(next, chunks, b""):
        yield chunk


def _chunks(source: Uploadable, start: int | None) -> Iterator[bytes]:
    """Yield chunks, none of them empty."""
    if isinstance(source, _Bytes):
        yield from _file_chunks(io.BytesIO(source))
    elif isinstance(source, os.PathLike):
        with Path(source).open("rb") as file:
            yield from _file_chunks(file)
    elif _is_file(source):
        if start is not None:
            source.seek(start)
        yield from _file_chunks(source)
    else:
        yield from filter(None, source)


def _file_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _check(source: object) -> None:
    if isinstance(source, str):
        raise BadRequest("content is text: pass bytes, or pathlib.Path(...) for a file.")
    if isinstance(source, io.TextIOBase):
        raise BadRequest("content is a file open as text: open it with mode 'rb'.")
    if isinstance(source, memoryview) and not source.contiguous:
        raise BadRequest("content is a memoryview with gaps: pass its tobytes().")
    if isinstance(source, os.PathLike) and Path(source).is_dir():
        raise BadRequest("content is a directory: pass a file.")
    if not isinstance(source, _Bytes | os.PathLike | Iterable | AsyncIterable | _Readable):
        raise BadRequest(
            f"content is {type(source).__name__}: pass bytes, a path, a file or an iterator."
        )


def _is_file(source: object) -> TypeGuard[BinaryIO]:
    # Files of asynchronous libraries also have `read`, but it must be awaited.
    return isinstance(source, _Readable) and not isinstance(source, AsyncIterable)


def _position(source: object) -> int | None:
    """Return the position of a seekable file."""
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
        status = Path(source).stat()
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    if start is None or not _is_file(source):
        return None
    end = source.seek(0, os.SEEK_END)
    source.seek(start)
    return end - start
