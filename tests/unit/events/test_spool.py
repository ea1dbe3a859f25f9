"""Spool: lines are on disk when `append` returns, and never in part."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitrate.clock import ManualClock
from hitrate.errors import ServiceUnavailable
from hitrate.events.spool import Spool
from tests.support.event_factory import line


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(spool_dir: Path) -> Iterator[Spool]:
    spool = Spool(spool_dir, ManualClock())
    spool.open()
    yield spool
    spool.close()


def append(spool: Spool, *lines: bytes) -> None:
    async def run() -> None:
        await asyncio.gather(*(spool.append(one) for one in lines))

    asyncio.run(run())


def spool_content(spool_dir: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(spool_dir.glob("*.ndjson")))


def test_append_returns_when_the_line_is_in_the_file(spool: Spool, spool_dir: Path) -> None:
    append(spool, b"one\n")
    assert spool_content(spool_dir) == b"one\n"


def test_concurrent_appends_are_written_once_and_in_order(spool: Spool, spool_dir: Path) -> None:
    lines = [b"%d\n" % number for number in range(500)]
    append(spool, *lines)
    assert spool_content(spool_dir) == b"".join(lines)


def test_closed_segment_does_not_change(spool: Spool) -> None:
    append(spool, b"one\n")
    assert spool.closed() == []
    spool.rotate()
    [segment] = spool.closed()
    append(spool, b"two\n")
    assert segment.read_bytes() == b"one\n"


def test_rotate_creates_no_segment_when_spool_is_empty(spool: Spool, spool_dir: Path) -> None:
    spool.rotate()
    assert list(spool_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one\ntwo\ntor", b"one\ntwo\n"),
        (b"one\n", b"one\n"),
        (b"one\n" + b"x" * 200_000, b"one\n"),
    ],
)
def test_open_truncates_a_torn_last_line(spool_dir: Path, content: bytes, expected: bytes) -> None:
    spool_dir.mkdir()
    segment = spool_dir / "1800000000000-aaaaaaaa.ndjson"
    segment.write_bytes(content)
    spool = Spool(spool_dir, ManualClock())
    spool.open()
    assert segment.read_bytes() == expected
    spool.close()


def test_open_removes_a_segment_that_is_only_a_torn_line(spool_dir: Path) -> None:
    spool_dir.mkdir()
    segment = spool_dir / "1800000000000-aaaaaaaa.ndjson"
    segment.write_bytes(b"x" * 100_000)
    spool = Spool(spool_dir, ManualClock())
    spool.open()
    assert not segment.exists()
    spool.close()


def test_failed_write_leaves_no_part_of_the_line(
    spool: Spool, spool_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(spool, b"before\n")
    write = os.write

    def write_four_bytes_then_fail(fd: int, data: bytes | memoryview) -> int:
        if len(data) > 4:
            return write(fd, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_four_bytes_then_fail)
    with pytest.raises(ServiceUnavailable, match="disk is full"):
        append(spool, b"lost line\n")
    monkeypatch.undo()
    append(spool, b"after\n")
    assert spool_content(spool_dir) == b"before\nafter\n"


def test_append_fails_when_free_space_is_below_the_reserve(spool_dir: Path) -> None:
    spool = Spool(spool_dir, ManualClock(), reserve_bytes=2**62)
    spool.open()
    with pytest.raises(ServiceUnavailable, match="disk is full"):
        append(spool, line())
    assert spool_content(spool_dir) == b""
    spool.close()


def test_stats_report_segments_bytes_and_age_of_the_oldest(spool_dir: Path) -> None:
    clock = ManualClock()
    spool = Spool(spool_dir, clock)
    spool.open()
    assert spool.stats() == (0, 0, 0.0)
    append(spool, b"one\n")
    clock.advance(90)
    assert spool.stats() == (1, 4, 90.0)
    spool.close()


def test_append_fails_after_close(spool: Spool) -> None:
    spool.close()
    with pytest.raises(ServiceUnavailable, match="stopping"):
        append(spool, b"late\n")
