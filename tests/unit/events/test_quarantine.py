"""Quarantine: invalid lines are written with their reasons, and an older directory is moved."""

from pathlib import Path

import pytest

from hitrate.events.quarantine import Quarantine, QuarantinedBatch


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine")


def reject_garbage(segment: Path) -> str | None:
    return "It is garbage." if b"garbage" in segment.read_bytes() else None


def write_segment(tmp_path: Path, *lines: bytes) -> Path:
    segment = tmp_path / "1800000000000-aaaaaaaa.ndjson"
    segment.write_bytes(b"".join(lines))
    return segment


def test_invalid_lines_are_written_and_valid_lines_returned(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    lines = [b"1\n", b"garbage 2\n", b"3\n", b"4\n", b"garbage 5\n"]
    segment = write_segment(tmp_path, *lines)
    valid, invalid = quarantine.extract_invalid_lines(segment, reject_garbage)
    assert (valid, invalid) == ([b"1\n", b"3\n", b"4\n"], 2)
    assert quarantine.batches() == [
        QuarantinedBatch(f"1800000000000-aaaaaaaa-{number}.ndjson", "It is garbage.")
        for number in (1, 4)
    ]
    for batch, line in zip(quarantine.batches(), (lines[1], lines[4]), strict=True):
        assert (quarantine.directory / batch.file).read_bytes() == line
    assert segment.read_bytes() == b"".join(lines)


def test_reason_without_its_batch_is_not_listed(quarantine: Quarantine, tmp_path: Path) -> None:
    quarantine.extract_invalid_lines(
        write_segment(tmp_path, b"garbage 1\n", b"garbage 2\n"), reject_garbage
    )
    first, second = quarantine.batches()
    (quarantine.directory / first.file).unlink()
    assert quarantine.batches() == [second]


def test_batches_are_empty_without_a_directory(quarantine: Quarantine) -> None:
    assert quarantine.batches() == []


def test_open_creates_no_directory(quarantine: Quarantine) -> None:
    quarantine.open()
    assert not quarantine.directory.exists()


@pytest.mark.parametrize("both", [False, True], ids=["only rejected", "rejected and quarantine"])
def test_open_moves_the_directory_of_an_earlier_version(
    quarantine: Quarantine, tmp_path: Path, both: bool
) -> None:
    legacy = tmp_path / "rejected"
    legacy.mkdir()
    (legacy / "1-a-0.ndjson").write_bytes(b"old\n")
    (legacy / "1-a-0.reason.txt").write_text("Old reason.\n")
    expected = [QuarantinedBatch("1-a-0.ndjson", "Old reason.")]
    if both:
        quarantine.extract_invalid_lines(write_segment(tmp_path, b"garbage\n"), reject_garbage)
        expected.append(QuarantinedBatch("1800000000000-aaaaaaaa-0.ndjson", "It is garbage."))
    assert quarantine.batches() == expected
    quarantine.open()
    assert quarantine.batches() == expected
    assert (quarantine.directory / "1-a-0.ndjson").read_bytes() == b"old\n"
    assert not legacy.exists()
    quarantine.open()
    assert quarantine.batches() == expected
