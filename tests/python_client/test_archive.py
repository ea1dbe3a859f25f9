"""Archives restore outputs exactly, and hostile archives change nothing."""

from __future__ import annotations

import io
import os
import random
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from hitrate.client import CachedRun, Outcome, _archive, cached
from hitrate.client._archive import ArchiveRejected, pack, unpack
from hitrate.client._globs import GlobSet
from tests.support.sample_project import leftover_files, snapshot
from tests.support.server import Server

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOISE = random.Random("outputs").randbytes(3000)
DIST = GlobSet(["dist"], "outputs")
DIRECTORY = {"type": tarfile.DIRTYPE}
OUTSIDE_PATH = "/hitrate-test-evil"


def tar(*members: tarfile.TarInfo | tuple[str, bytes], end: bool = True) -> bytes:
    """Return a tar of headers or plain files, optionally without its end marker."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for one in members:
            info = member(one[0], size=len(one[1])) if isinstance(one, tuple) else one
            tar.addfile(info, io.BytesIO(one[1] if isinstance(one, tuple) else bytes(info.size)))
        end_position = tar.offset
    return file.getvalue() if end else file.getvalue()[:end_position]


def member(name: str, **attributes: Any) -> tarfile.TarInfo:
    """Return a header with these attributes."""
    info = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


def tar_with_name(name: str) -> bytes:
    """Return a tar of one file, whose name may be any text."""
    return tar(member("dist/x", pax_headers={"path": name}))


def header(kind: bytes, body: bytes) -> bytes:
    """Return an extended header, which may be invalid."""
    info = member("x", type=kind, size=len(body))
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def compressed(content: bytes) -> bytes:
    """Compress like `pack`."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


VALID_TAR = tar(("dist/a", NOISE), ("dist/b", NOISE))
SECOND_HEADER = 512 + 3072  # offset
NAMES = {
    "parent directory": "../evil",
    "absolute": OUTSIDE_PATH,
    "parent directory inside": "dist/../../evil",
    "dot": "./dist/x",
    "two slashes": "dist//x",
    "backslash": "dist\\x",
    "newline": "dist/x\ny",
    "NUL": "dist/x\0y",
    "control character": "dist/\x1b[2J",
    "right to left": "dist/\u202ex",
    "empty": "",
    "git": ".git/hooks/post-checkout",
    "nested git": "dist/.git/config",
    "work directory": ".hitrate/x",
    "source file": "src/a",
    "not an output": "dist2/x",
    "too long": "dist/" + "long/" * 250,
    "part too long": "dist/" + "x" * 300,
}
MEMBER_TYPES = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "contiguous": tarfile.CONTTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
    "unknown": b"Q",
}
SURROGATE = member("dist/\udcff").tobuf(tarfile.GNU_FORMAT) + bytes(1024)
SPARSE = member("dist/x", size=512, pax_headers={"GNU.sparse.map": "0,9", "GNU.sparse.size": "9"})
HOSTILE = {
    **{f"name: {case}": compressed(tar_with_name(name)) for case, name in NAMES.items()},
    **{
        f"kind: {case}": compressed(tar(member("dist/x", type=kind, linkname="../src/a")))
        for case, kind in MEMBER_TYPES.items()
    },
    "name: not UTF-8": compressed(SURROGATE),
    "kind: sparse by extension": compressed(tar(SPARSE)),
    "duplicate name": compressed(tar(("dist/x", b"1"), ("dist/x", b"2"))),
    "file, then directory": compressed(tar(("dist/x", b"1"), ("dist/x/y", b"2"))),
    "directory, then file": compressed(tar(("dist/x/y", b"1"), ("dist/x", b"2"))),
    "file instead of the output directory": compressed(tar(("dist", b"1"), ("dist/x", b"2"))),
    "size larger than the content": compressed(member("dist/x", size=10**12).tobuf() + b"little"),
    "negative size": compressed(tar(member("dist/x", pax_headers={"size": "-512"}))),
    "empty file": b"",
    "random bytes": NOISE,
    "not a tar": compressed(b"hello"),
    "empty content": compressed(b""),
    "trailing garbage": compressed(VALID_TAR) + b"garbage",
    "truncated by one byte": compressed(VALID_TAR)[:-1],
    "truncated content": compressed(VALID_TAR[: SECOND_HEADER + 512 + 100]),
    "ends between members": compressed(VALID_TAR[:SECOND_HEADER]),
    "ends in a header": compressed(VALID_TAR[: SECOND_HEADER + 100]),
    "without an end marker": compressed(tar(("dist/a", b"a"), end=False)),
    "damaged second header": compressed(
        VALID_TAR[:SECOND_HEADER] + b"?" + VALID_TAR[SECOND_HEADER + 1 :]
    ),
    "thousands of extended headers": compressed(header(b"x", b"") * 2000 + VALID_TAR),
    "thousands of long names": compressed(header(b"L", b"dist/x\0") * 2000 + VALID_TAR),
    "invalid extended header": compressed(header(b"x", b"1" * 20_000) + VALID_TAR),
    "extended header of megabytes": compressed(
        header(b"x", b"9999991 a=".ljust(9_999_990) + b"\n") + VALID_TAR
    ),
}


@dataclass
class Checkout:
    """A directory with one source file; each run records its state and then writes `dist/built`."""

    root: Path
    key: str
    states: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> CachedRun[None]:
        return cached(self._build, inputs=["src"], outputs=["dist"], key=self.key, root=self.root)

    def state(self) -> dict[str, Any]:
        """Return all files of the directory and beside it, except the work directory."""
        files = snapshot(self.root.parent)
        return {name: file for name, file in files.items() if "/.hitrate" not in name}

    def _build(self) -> None:
        self.states.append(self.state())
        (self.root / "dist").mkdir(exist_ok=True)
        (self.root / "dist" / "built").write_text("built")


@pytest.fixture
def checkout(
    tmp_path: Path, unique: str, shared_server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Checkout]:
    monkeypatch.setenv("TURBO_API", shared_server.url)
    monkeypatch.setenv("TURBO_TOKEN", shared_server.token)
    monkeypatch.setenv("TURBO_TEAM", shared_server.team)
    monkeypatch.delenv("TURBO_REMOTE_CACHE_SIGNATURE_KEY", raising=False)
    checkout = Checkout(tmp_path / "here", unique)
    (checkout.root / "src").mkdir(parents=True)
    (checkout.root / "src" / "a").write_text("a")
    yield checkout
    assert leftover_files(checkout.root) == set()


@pytest.mark.parametrize("archive", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archive_changes_no_files_and_is_replaced(
    checkout: Checkout, shared_server: Server, archive: bytes
) -> None:
    first = checkout.run()
    assert first.stored, first.problem
    (checkout.root / "dist" / "local").write_text("local")
    before = checkout.state()
    response = shared_server.request("PUT", f"/v8/artifacts/{first.hash}", content=archive)
    assert response.status_code == 202, response.text

    second = checkout.run()

    assert checkout.states[1:] == [before]
    assert not Path(OUTSIDE_PATH).exists()
    assert (second.outcome, second.stored) == (Outcome.UNREADABLE, True)
    assert second.problem
    assert second.problem.startswith("not restored: ")
    assert second.problem.isprintable()
    assert checkout.run().outcome is Outcome.HIT


def test_truncated_archive_is_rejected_at_any_length(tmp_path: Path) -> None:
    archive = compressed(VALID_TAR)
    for tenth in range(10):
        with pytest.raises(ArchiveRejected, match="damaged"):
            unpacked(tmp_path / str(tenth), archive[: len(archive) * tenth // 10])


def test_flipped_bits_never_change_restored_files(tmp_path: Path) -> None:
    archive = compressed(VALID_TAR)
    expected = unpacked(tmp_path / "intact", archive)
    size = len(archive)
    positions = [*range(20), *range(20, size, 101), *range(size - 20, size)]
    for position in positions:
        damaged = bytearray(archive)
        damaged[position] ^= 1 << position % 8
        try:
            assert unpacked(tmp_path / str(position), bytes(damaged)) == expected
        except ArchiveRejected:
            assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "attributes", [{}, {"pax_headers": {"size": "-9999"}}], ids=["plain", "negative size"]
)
def test_archive_above_the_unpacked_size_limit_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any]
) -> None:
    monkeypatch.setattr(_archive, "MAX_ARCHIVE_BYTES", 5000)

    members = member("dist", **DIRECTORY, **attributes), ("dist/a", NOISE), ("dist/b", NOISE)
    with pytest.raises(ArchiveRejected):
        unpacked(tmp_path / "out", compressed(tar(*members)))


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_archive_of_another_tool_is_restored_without_setuid_bits(
    tmp_path: Path, tar_format: Literal[0, 1, 2]
) -> None:
    name = "dist/" + "/".join(["a long name"] * 20)
    file = member(name, size=3, mode=0o4755, uid=12345).tobuf(tar_format) + b"abc".ljust(512, b"\0")
    content = file + bytes(1024)

    files = unpacked(tmp_path / "out", compressed(content[:700]) + compressed(content[700:]))

    assert files[name] == ("executable", b"abc")
    assert not (tmp_path / "out" / name).stat().st_mode & 0o7000


def test_packing_equal_outputs_gives_identical_archives(tmp_path: Path) -> None:
    archives = []
    for number, umask in enumerate((0o077, 0o002)):
        root = tmp_path / str(number)
        before = os.umask(umask)
        try:
            for name in sorted(("b", "a/x", "ü", "a/b"), reverse=bool(number)):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(name.encode())
                os.utime(root / name, (number, number))
            (root / "b").chmod(0o777 - umask)
        finally:
            os.umask(before)
        names = [path.relative_to(root).as_posix() for path in root.rglob("*")]
        assert pack(root, names[:: -1 if number else 1], tmp_path / "archive") == 4
        archives.append((tmp_path / "archive").read_bytes())

    assert archives[0] == archives[1]


def test_restore_reproduces_outputs_exactly_and_removes_other_files(checkout: Checkout) -> None:
    dist = checkout.root / "dist"
    for name, content in {
        "größe/日本語": b"text",
        "with blanks / in it ": b" ",
        "empty": b"",
        ".hidden/.file": b"x",
        "big": NOISE * 7000,
        "[a]*?{b,c}": b"glob",
        "é" * 127: b"long",
    }.items():
        (dist / name).parent.mkdir(parents=True, exist_ok=True)
        (dist / name).write_bytes(content)
    (dist / "nothing" / "in it").mkdir(parents=True)
    (dist / "empty").chmod(0o755)
    assert checkout.run().stored
    stored = snapshot(dist)
    (dist / "empty").unlink()
    (dist / "empty").mkdir()
    (dist / "big").chmod(0o755)
    (dist / ".hidden" / ".file").unlink()
    (dist / "stale" / "deep").mkdir(parents=True)
    (dist / "stale" / "file").write_text("stale")
    (dist / "to file").symlink_to(checkout.root / "src" / "a")
    (dist / "to directory").symlink_to(checkout.root / "src")
    (dist / "to nothing").symlink_to("nowhere")

    hit = checkout.run()

    assert (hit.outcome, hit.files) == (Outcome.HIT, 8)
    assert snapshot(dist) == stored
    assert (checkout.root / "src" / "a").read_text() == "a"


@pytest.mark.parametrize("glob", ["dist", "dist/", "dist/**", "./dist/**/*", "{dist,x}/**", "d*t"])
def test_outputs_are_restored_for_every_form_of_glob(checkout: Checkout, glob: str) -> None:
    def build() -> None:
        (checkout.root / "dist" / "sub").mkdir(parents=True, exist_ok=True)
        (checkout.root / "dist" / "sub" / "a").write_text("a")

    runs = [
        cached(build, inputs=["src"], outputs=[glob], key=checkout.key, root=checkout.root)
        for _ in range(2)
    ]

    assert [(run.outcome, run.problem) for run in runs] == [
        (Outcome.MISS, None),
        (Outcome.HIT, None),
    ]


@pytest.mark.parametrize("kind", ["link to a file", "link to a directory", "dangling link", "fifo"])
def test_outputs_that_are_not_regular_files_are_not_stored_and_reported(
    checkout: Checkout, kind: str
) -> None:
    output = checkout.root / "dist" / "special"
    output.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(output)
    else:
        target = {"link to a file": "src/a", "link to a directory": "src"}.get(kind, "nowhere")
        output.symlink_to(checkout.root / target)

    run = checkout.run()

    assert (run.stored, run.exit_code) == (False, 0)
    assert run.problem
    assert "dist/special" in run.problem
    assert checkout.run().outcome is Outcome.MISS


@pytest.mark.parametrize("link", ["dist", "dist/sub"])
@pytest.mark.parametrize("output", ["dist/sub/file", "dist/sub/directory/"])
def test_restore_never_writes_through_a_symlink_to_another_directory(
    checkout: Checkout, tmp_path: Path, link: str, output: str
) -> None:
    (checkout.root / output).parent.mkdir(parents=True)
    (checkout.root / output).mkdir() if output.endswith("/") else (checkout.root / output).touch()
    assert checkout.run().stored
    other = Checkout(tmp_path / "other", checkout.key)
    (other.root / "src").mkdir(parents=True)
    (other.root / "src" / "a").write_text("a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("precious")
    (other.root / link).parent.mkdir(exist_ok=True)
    (other.root / link).symlink_to(elsewhere)

    other.run()

    assert snapshot(elsewhere).keys() - {"built"} == {"precious"}


def unpacked(directory: Path, archive: bytes) -> dict[str, Any]:
    """Unpack an archive into a new directory, and return its files."""
    directory.mkdir()
    file = directory.with_suffix(".zst")
    file.write_bytes(archive)
    unpack(file, DIST, directory)
    return snapshot(directory)
