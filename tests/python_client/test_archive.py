"""Holds archives to bringing back exactly what was made, and hostile ones to changing nothing."""

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
from tests.support.sample_project import leftovers, snapshot
from tests.support.server import Server

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOISE = random.Random("outputs").randbytes(3000)
DIST = GlobSet(["dist"], "outputs")
FOLDER = {"type": tarfile.DIRTYPE}
ABSENT = "/evil-of-hitrate"


def tar(*members: tarfile.TarInfo | tuple[str, bytes], end: bool = True) -> bytes:
    """A tar of such members, or of plain files; without its end if so told."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for one in members:
            info = member(one[0], size=len(one[1])) if isinstance(one, tuple) else one
            tar.addfile(info, io.BytesIO(one[1] if isinstance(one, tuple) else bytes(info.size)))
        whole = tar.offset
    return file.getvalue() if end else file.getvalue()[:whole]


def member(name: str, **facts: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info


def named(name: str) -> bytes:
    """A tar of one file, whose name can be any text."""
    return tar(member("dist/x", pax_headers={"path": name}))


def header(kind: bytes, body: bytes) -> bytes:
    """An extended header, right or wrong."""
    info = member("x", type=kind, size=len(body))
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def packed(content: bytes) -> bytes:
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


GOOD = tar(("dist/a", NOISE), ("dist/b", NOISE))
SECOND = 512 + 3072  # where the second member's header begins
NAMES = {
    "up": "../evil",
    "absolute": ABSENT,
    "up again": "dist/../../evil",
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
    "work folder": ".hitrate/x",
    "source": "src/a",
    "no output": "dist2/x",
    "too long": "dist/" + "long/" * 250,
    "part too long": "dist/" + "x" * 300,
}
KINDS = {
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
    **{f"name: {what}": packed(named(name)) for what, name in NAMES.items()},
    **{
        f"kind: {what}": packed(tar(member("dist/x", type=kind, linkname="../src/a")))
        for what, kind in KINDS.items()
    },
    "name: no text": packed(SURROGATE),
    "kind: sparse by extension": packed(tar(SPARSE)),
    "twice": packed(tar(("dist/x", b"1"), ("dist/x", b"2"))),
    "file, then folder": packed(tar(("dist/x", b"1"), ("dist/x/y", b"2"))),
    "folder, then file": packed(tar(("dist/x/y", b"1"), ("dist/x", b"2"))),
    "file above all": packed(tar(("dist", b"1"), ("dist/x", b"2"))),
    "more declared than there": packed(member("dist/x", size=10**12).tobuf() + b"little"),
    "size below zero": packed(tar(member("dist/x", pax_headers={"size": "-512"}))),
    "no bytes": b"",
    "noise": NOISE,
    "no archive": packed(b"hello"),
    "no content": packed(b""),
    "trailing garbage": packed(GOOD) + b"garbage",
    "shortened": packed(GOOD)[:-1],
    "shortened inside": packed(GOOD[: SECOND + 512 + 100]),
    "ends between members": packed(GOOD[:SECOND]),
    "ends in a header": packed(GOOD[: SECOND + 100]),
    "ends without an end": packed(tar(("dist/a", b"a"), end=False)),
    "damaged header inside": packed(GOOD[:SECOND] + b"?" + GOOD[SECOND + 1 :]),
    "headers without end": packed(header(b"x", b"") * 2000 + GOOD),
    "names without end": packed(header(b"L", b"dist/x\0") * 2000 + GOOD),
    "extension of nonsense": packed(header(b"x", b"1" * 20_000) + GOOD),
    "extension of megabytes": packed(header(b"x", b"9999991 a=".ljust(9_999_990) + b"\n") + GOOD),
}


@dataclass
class Checkout:
    """A folder with one source; each run makes `dist/made`, after noting what it found."""

    root: Path
    key: str
    found: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> CachedRun[None]:
        return cached(self._make, inputs=["src"], outputs=["dist"], key=self.key, root=self.root)

    def state(self) -> dict[str, Any]:
        """All that is here and beside it, but for the work folder."""
        there = snapshot(self.root.parent)
        return {name: what for name, what in there.items() if "/.hitrate" not in name}

    def _make(self) -> None:
        self.found.append(self.state())
        (self.root / "dist").mkdir(exist_ok=True)
        (self.root / "dist" / "made").write_text("made")


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
    assert leftovers(checkout.root) == set()


@pytest.mark.parametrize("archive", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_changes_nothing_and_is_replaced(
    checkout: Checkout, shared_server: Server, archive: bytes
) -> None:
    first = checkout.run()
    assert first.stored, first.problem
    (checkout.root / "dist" / "local").write_text("local")
    before = checkout.state()
    answer = shared_server.request("PUT", f"/v8/artifacts/{first.hash}", content=archive)
    assert answer.status_code == 202, answer.text

    second = checkout.run()

    assert checkout.found[1:] == [before]
    assert not Path(ABSENT).exists()
    assert (second.outcome, second.stored) == (Outcome.UNREADABLE, True)
    assert second.problem
    assert second.problem.startswith("not restored: ")
    assert second.problem.isprintable()
    assert checkout.run().outcome is Outcome.HIT


def test_a_shortened_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = packed(GOOD)
    for tenth in range(10):
        with pytest.raises(ArchiveRejected, match="damaged"):
            unpacked(tmp_path / str(tenth), whole[: len(whole) * tenth // 10])


def test_no_flipped_bit_changes_what_is_restored(tmp_path: Path) -> None:
    whole = packed(GOOD)
    expected = unpacked(tmp_path / "whole", whole)
    positions = [*range(20), *range(20, len(whole), 101), *range(len(whole) - 20, len(whole))]
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        try:
            assert unpacked(tmp_path / str(position), bytes(damaged)) == expected
        except ArchiveRejected:
            assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("trick", [{}, {"pax_headers": {"size": "-9999"}}], ids=["plain", "below"])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trick: dict[str, Any]
) -> None:
    monkeypatch.setattr(_archive, "MAX_ARCHIVE_BYTES", 5000)

    members = member("dist", **FOLDER, **trick), ("dist/a", NOISE), ("dist/b", NOISE)
    with pytest.raises(ArchiveRejected):
        unpacked(tmp_path / "out", packed(tar(*members)))


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_an_archive_of_another_tool_is_restored_without_its_special_rights(
    tmp_path: Path, style: Literal[0, 1, 2]
) -> None:
    name = "dist/" + "/".join(["a long name"] * 20)
    plain = member(name, size=3, mode=0o4755, uid=12345).tobuf(style) + b"abc".ljust(512, b"\0")
    whole = plain + bytes(1024)

    made = unpacked(tmp_path / "out", packed(whole[:700]) + packed(whole[700:]))

    assert made[name] == ("program", b"abc")
    assert not (tmp_path / "out" / name).stat().st_mode & 0o7000


def test_the_same_outputs_make_the_same_archive(tmp_path: Path) -> None:
    archives = []
    for number, mask in enumerate((0o077, 0o002)):
        root = tmp_path / str(number)
        before = os.umask(mask)
        try:
            for name in sorted(("b", "a/x", "ü", "a/b"), reverse=bool(number)):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(name.encode())
                os.utime(root / name, (number, number))
            (root / "b").chmod(0o777 - mask)
        finally:
            os.umask(before)
        names = [path.relative_to(root).as_posix() for path in root.rglob("*")]
        assert pack(root, names[:: -1 if number else 1], tmp_path / "archive") == 4
        archives.append((tmp_path / "archive").read_bytes())

    assert archives[0] == archives[1]


def test_outputs_come_back_exactly_and_nothing_else_stays(checkout: Checkout) -> None:
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
    made = snapshot(dist)
    (dist / "empty").unlink()
    (dist / "empty").mkdir()
    (dist / "big").chmod(0o755)
    (dist / ".hidden" / ".file").unlink()
    (dist / "stale" / "deep").mkdir(parents=True)
    (dist / "stale" / "file").write_text("stale")
    (dist / "to file").symlink_to(checkout.root / "src" / "a")
    (dist / "to folder").symlink_to(checkout.root / "src")
    (dist / "to nothing").symlink_to("nowhere")

    hit = checkout.run()

    assert (hit.outcome, hit.files) == (Outcome.HIT, 8)
    assert snapshot(dist) == made
    assert (checkout.root / "src" / "a").read_text() == "a"


@pytest.mark.parametrize("glob", ["dist", "dist/", "dist/**", "./dist/**/*", "{dist,x}/**", "d*t"])
def test_outputs_come_back_however_they_are_named(checkout: Checkout, glob: str) -> None:
    def make() -> None:
        (checkout.root / "dist" / "sub").mkdir(parents=True, exist_ok=True)
        (checkout.root / "dist" / "sub" / "a").write_text("a")

    runs = [
        cached(make, inputs=["src"], outputs=[glob], key=checkout.key, root=checkout.root)
        for _ in range(2)
    ]

    assert [(run.outcome, run.problem) for run in runs] == [
        (Outcome.MISS, None),
        (Outcome.HIT, None),
    ]


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "link to nothing", "fifo"])
def test_outputs_that_are_no_files_are_not_stored_and_that_is_told(
    checkout: Checkout, kind: str
) -> None:
    odd = checkout.root / "dist" / "odd"
    odd.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(odd)
    else:
        target = {"link to a file": "src/a", "link to a folder": "src"}.get(kind, "nowhere")
        odd.symlink_to(checkout.root / target)

    run = checkout.run()

    assert (run.stored, run.exit_code) == (False, 0)
    assert run.problem
    assert "dist/odd" in run.problem
    assert checkout.run().outcome is Outcome.MISS


@pytest.mark.parametrize("link", ["dist", "dist/sub"])
@pytest.mark.parametrize("made", ["dist/sub/file", "dist/sub/folder/"])
def test_nothing_is_restored_through_a_link_to_elsewhere(
    checkout: Checkout, tmp_path: Path, link: str, made: str
) -> None:
    (checkout.root / made).parent.mkdir(parents=True)
    (checkout.root / made).mkdir() if made.endswith("/") else (checkout.root / made).touch()
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

    assert snapshot(elsewhere).keys() - {"made"} == {"precious"}


def unpacked(folder: Path, archive: bytes) -> dict[str, Any]:
    """What an archive has, unpacked into a new folder."""
    folder.mkdir()
    file = folder.with_suffix(".zst")
    file.write_bytes(archive)
    unpack(file, DIST, folder)
    return snapshot(folder)
