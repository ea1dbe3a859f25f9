"""The spool: on disk before anyone hears of it, whole lines only."""

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
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    spool = Spool(folder, ManualClock())
    spool.open()
    yield spool
    spool.close()


def append(spool: Spool, *lines: bytes) -> None:
    async def run() -> None:
        await asyncio.gather(*(spool.append(one) for one in lines))

    asyncio.run(run())


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.ndjson")))


def test_a_line_is_in_the_file_when_append_returns(spool: Spool, folder: Path) -> None:
    append(spool, b"one\n")
    assert stored(folder) == b"one\n"


def test_lines_that_wait_together_are_all_written_once_in_order(spool: Spool, folder: Path) -> None:
    lines = [b"%d\n" % number for number in range(500)]
    append(spool, *lines)
    assert stored(folder) == b"".join(lines)


def test_a_closed_segment_no_longer_changes(spool: Spool) -> None:
    append(spool, b"one\n")
    assert spool.closed() == []
    spool.rotate()
    [segment] = spool.closed()
    append(spool, b"two\n")
    assert segment.read_bytes() == b"one\n"


def test_rotating_an_empty_spool_leaves_no_segment(spool: Spool, folder: Path) -> None:
    spool.rotate()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"one\ntwo\ntor", b"one\ntwo\n"),
        (b"one\n", b"one\n"),
        (b"one\n" + b"x" * 200_000, b"one\n"),
    ],
)
def test_a_torn_last_line_is_cut_off_at_the_start(folder: Path, left: bytes, kept: bytes) -> None:
    folder.mkdir()
    segment = folder / "1800000000000-aaaaaaaa.ndjson"
    segment.write_bytes(left)
    spool = Spool(folder, ManualClock())
    spool.open()
    assert segment.read_bytes() == kept
    spool.close()


def test_a_segment_that_is_only_a_torn_line_goes(folder: Path) -> None:
    folder.mkdir()
    segment = folder / "1800000000000-aaaaaaaa.ndjson"
    segment.write_bytes(b"x" * 100_000)
    spool = Spool(folder, ManualClock())
    spool.open()
    assert not segment.exists()
    spool.close()


def test_a_write_that_fails_leaves_no_part_of_it(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(spool, b"before\n")
    write = os.write

    def half(fd: int, data: bytes | memoryview) -> int:
        if len(data) > 4:
            return write(fd, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(ServiceUnavailable, match="disk is full"):
        append(spool, b"lost line\n")
    monkeypatch.undo()
    append(spool, b"after\n")
    assert stored(folder) == b"before\nafter\n"


def test_a_disk_with_too_little_room_left_for_the_event_store_is_full(folder: Path) -> None:
    spool = Spool(folder, ManualClock(), reserve_bytes=2**62)
    spool.open()
    with pytest.raises(ServiceUnavailable, match="disk is full"):
        append(spool, line())
    assert stored(folder) == b""
    spool.close()


def test_depth_tells_segments_bytes_and_age(folder: Path) -> None:
    clock = ManualClock()
    spool = Spool(folder, clock)
    spool.open()
    assert spool.stats() == (0, 0, 0.0)
    append(spool, b"one\n")
    clock.advance(90)
    assert spool.stats() == (1, 4, 90.0)
    spool.close()


def test_after_close_nothing_is_accepted(spool: Spool) -> None:
    spool.close()
    with pytest.raises(ServiceUnavailable, match="stopping"):
        append(spool, b"late\n")
