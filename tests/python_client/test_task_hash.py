"""The hash of a task is the same only for the same work on the same inputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.client import BadRequest
from hitrate.client._globs import GlobSet
from hitrate.client._task import Task

INVALID_UTF8 = os.fsdecode(b"\xff\xfe")
FILES = {"src/a": b"a", "src/sub/b.c": b"b", "src/.hidden": b"h", "Makefile": b"m"}
TREES = st.dictionaries(
    st.text("ab.*[{ \n\\é\udcff", min_size=1, max_size=3).filter(lambda n: n.strip(".")),
    st.binary(max_size=3),
    min_size=1,
    max_size=3,
)


def fingerprint(
    root: Path,
    work: Sequence[str] = ("make",),
    *,
    inputs: Sequence[str] = ("**",),
    outputs: Sequence[str] = ("dist",),
    env: Mapping[str, str | None] | None = None,
    key: str = "",
) -> str:
    globs = GlobSet(inputs, "inputs", always_excluded=("__pycache__",)), GlobSet(outputs, "outputs")
    return Task(work, root, *globs, env or {}, key).fingerprint()


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


@given(TREES, TREES)
@settings(max_examples=60, deadline=None)
def test_directories_share_a_hash_only_if_their_files_are_equal(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        hashes = [
            fingerprint(write(Path(directory, str(number)), files))
            for number, files in enumerate((one, other, dict(reversed(one.items()))))
        ]

    assert (hashes[0] == hashes[1]) == (one == other)
    assert hashes[0] == hashes[2]


@given(st.lists(st.text("a b\x01\udcff'\"", max_size=3), min_size=1, max_size=3), st.data())
@settings(max_examples=40, deadline=None)
def test_commands_share_a_hash_only_if_their_arguments_are_equal(
    one: list[str], data: st.DataObject
) -> None:
    other = data.draw(st.sampled_from([one, [" ".join(one)], "".join(one).split() or ["a"]]))
    with tempfile.TemporaryDirectory() as directory:
        root = write(Path(directory), FILES)

        assert (fingerprint(root, one) == fingerprint(root, other)) == (one == other)


def test_hash_depends_on_every_part_of_a_task(root: Path) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"key": "x"},
        {"key": INVALID_UTF8},
        {"env": {"x": None}},
        {"env": {"x": ""}},
        {"env": {"x": "x"}},
        {"env": {"x": INVALID_UTF8}},
        {"env": {"y": "x"}},
        {"env": {"x": "x", "y": "x"}},
        {"work": ["make", "x"]},
        {"work": ["make", ""]},
        {"work": ["make x"]},
        {"work": ["make", INVALID_UTF8]},
        {"work": ["command", "make"]},
        {"outputs": ["dist", "x"]},
        {"outputs": ["dist", "!x"]},
        {"outputs": []},
    ]
    hashes = [fingerprint(root, **variant) for variant in variants]

    assert len({*hashes}) == len(variants)
    assert all(len(one) == 64 and one.isalnum() for one in hashes)
    assert hashes == [fingerprint(root, **variant) for variant in variants]


def rewrite(path: Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_symlink(path: Path, target: str | Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda root: (root / "src/a").write_text("A"),
    "same size and time": lambda root: rewrite(root / "src/a", b"b"),
    "removed": lambda root: (root / "src/a").unlink(),
    "new": lambda root: (root / "src/new").touch(),
    "new and hidden": lambda root: (root / "src/.new").touch(),
    "renamed": lambda root: (root / "src/a").rename(root / "src/z"),
    "moved": lambda root: (root / "src/a").rename(root / "src/sub/a"),
    "made executable": lambda root: (root / "src/a").chmod(0o755),
    "exchanged": lambda root: write(root, {"src/a": b"b", "src/sub/b.c": b"a"}),
    "replaced by a link": lambda root: replace_symlink(root / "src/a", "sub/b.c"),
    "a name that is not UTF-8": lambda root: (root / "src" / INVALID_UTF8).touch(),
    "a name with a newline": lambda root: (root / "src" / "a\n").touch(),
    "a name like a pattern": lambda root: (root / "src" / "[!a]*{b,c}").touch(),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "touched": lambda root: os.utime(root / "src/a", (1, 1)),
    "readable by others": lambda root: (root / "src/a").chmod(0o666),
    "written again": lambda root: (root / "src/a").write_bytes(b"a"),
    "outputs": lambda root: write(root, {"dist/app": b"x"}),
    "git": lambda root: write(root, {".git/HEAD": b"x", "src/.git": b"x"}),
    "compiled": lambda root: write(root, {"src/__pycache__/a.pyc": b"x"}),
    "work directory": lambda root: write(root, {".hitrate/x/outputs": b"x"}),
    "empty directory": lambda root: (root / "src/empty").mkdir(),
}


@pytest.mark.parametrize("inputs", [["**"], ["src", "Makefile"], ["{src,Makefile}/**", "**/a"]])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_input_changes_the_hash(
    root: Path, inputs: list[str], change: Callable[[Path], object]
) -> None:
    before = fingerprint(root, inputs=inputs)
    change(root)

    assert fingerprint(root, inputs=inputs) != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_changes_outside_the_inputs_do_not_change_the_hash(
    root: Path, change: Callable[[Path], object]
) -> None:
    before = fingerprint(root)
    change(root)

    assert fingerprint(root) == before


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["src"], "src/.hidden src/a src/sub/b.c"),
        (["src/"], "src/.hidden src/a src/sub/b.c"),
        (["./src//**"], "src/.hidden src/a src/sub/b.c"),
        (["**/*.c"], "src/sub/b.c"),
        (["src/*"], "src/.hidden src/a src/sub/b.c"),
        (["src/?", "Makefile"], "Makefile src/a"),
        (["{Makefile,src/a}"], "Makefile src/a"),
        (["src", "!src/sub"], "src/.hidden src/a"),
        (["!**/*.c", "src"], "src/.hidden src/a"),
        (["**", "!**/.*", "!{Makefile,dist}"], "src/a src/sub/b.c"),
        (["src/[!.]*"], "src/a src/sub/b.c"),
        (
            ["**", ".git", ".hitrate", "src/__pycache__/**"],
            "Makefile src/.hidden src/a src/sub/b.c",
        ),
    ],
    ids=str,
)
def test_inputs_are_the_files_that_the_globs_match(
    root: Path, inputs: list[str], names: str
) -> None:
    ignored_files = {"dist/app": b"", ".git/x": b"", ".hitrate/x": b"", "src/__pycache__/x": b""}
    write(root, ignored_files)
    task = Task(["make"], root, GlobSet(inputs, "", ["__pycache__"]), GlobSet(["dist"], ""), {}, "")

    assert task.input_names() == names.split()


@pytest.mark.parametrize("inputs", [["nothing/**"], ["!src"], ["dist"], [".git/HEAD"]], ids=str)
def test_task_without_inputs_is_rejected(root: Path, inputs: list[str]) -> None:
    write(root, {"dist/app": b"", ".git/HEAD": b""})

    with pytest.raises(BadRequest, match="inputs: "):
        fingerprint(root, inputs=inputs)


OUTSIDE = ["../x", "/x", "~/x", "a/../../x", "{..,a}/x", "{a,/x}", r"\../x", r"a/\.\./x"]


@pytest.mark.parametrize("glob", [*OUTSIDE, "", ".", "./", "//", "!", "!../x", "!/x"])
def test_globs_outside_the_root_or_without_a_name_are_rejected(glob: str) -> None:
    with pytest.raises(BadRequest):
        GlobSet([glob], "outputs")


@pytest.mark.parametrize("parts", [*product(["[.][.]", ".*", ".?", "*", "**"], ["x", "*"])])
def test_globs_never_match_outside_the_root(root: Path, parts: tuple[str, ...]) -> None:
    write(root.parent, {"x": b"", "outside/x": b""})
    names = GlobSet(["/".join(parts)], "outputs").names(root)

    assert all((root / name).resolve().is_relative_to(root) for name in names)


def test_symlink_input_is_hashed_with_its_target_and_content(root: Path) -> None:
    write(root.parent, {"outside/file": b"1", "outside/file2": b"1"})
    link = root / "src" / "link"
    hashes = set()
    for target in ("file", "file2", "nothing"):
        replace_symlink(link, root.parent / "outside" / target)
        hashes.add(fingerprint(root))
    replace_symlink(link, root.parent / "outside" / "file")
    assert fingerprint(root) in hashes

    write(root.parent, {"outside/file": b"2"})

    assert fingerprint(root) not in hashes
    assert len(hashes) == 3


def test_named_symlink_to_a_directory_is_hashed_with_its_content(root: Path) -> None:
    write(root.parent, {"outside/file": b"1"})
    (root / "link").symlink_to(root.parent / "outside")
    before = fingerprint(root, inputs=["link"])
    write(root.parent, {"outside/file": b"2"})

    assert fingerprint(root, inputs=["link"]) != before


def test_executable_bit_of_a_symlink_target_changes_the_hash(root: Path) -> None:
    target = write(root.parent, {"outside/tool": b"#!/bin/sh"}) / "outside/tool"
    (root / "src" / "tool").symlink_to(target)
    before = fingerprint(root)
    target.chmod(0o755)

    assert fingerprint(root) != before


def test_special_files_are_never_read(root: Path) -> None:
    os.mkfifo(root / "src" / "fifo")
    (root / "src" / "fifo link").symlink_to("fifo")
    (root / "src" / "device link").symlink_to("/dev/zero")
    (root / "src" / "cycle").symlink_to("cycle")

    assert fingerprint(root) == fingerprint(root)


def test_unreadable_input_raises_os_error(root: Path) -> None:
    # Reading this file from its beginning fails, even for root.
    (root / "src" / "unreadable").symlink_to("/proc/self/mem")

    with pytest.raises(OSError, match="Input/output error"):
        fingerprint(root)


def test_content_behind_a_directory_symlink_with_a_cycle_is_hashed(root: Path) -> None:
    (root / "target" / "sub").mkdir(parents=True)
    (root / "target" / "sub" / "cycle").symlink_to("..")
    (root / "target" / "file").write_text("1")
    (root / "src" / "link").symlink_to("../target")
    before = fingerprint(root)
    assert fingerprint(root) == before

    (root / "target" / "file").write_text("2")

    assert fingerprint(root) != before
