"""Outputs as a zstd tar: the same files give the same bytes, and none is trusted to come back.

Only files and folders are stored. On the way back anything else is refused, as is every name
that is odd or not among the outputs; what was unpacked before stays aside, in the work folder.
"""

import os
import shutil
import stat
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from hitrate.client._patterns import Patterns, name_problem, passes_a_link

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_BYTES = 64 * 10**9
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
_PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)


class ArchiveRefused(Exception):
    """These outputs cannot be stored, or this archive is not one to restore."""


def pack(root: Path, names: Iterable[str], archive: Path) -> int:
    """Write the files and folders of these names into `archive`; the number of files.

    Raises ArchiveRefused and OSError.
    """
    files = 0
    with (
        zstd.open(archive, "wb", options=_OPTIONS) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(names):
            files += _add(tar, root, name)
    return files


def unpack(archive: Path, outputs: Patterns, folder: Path) -> list[str]:
    """Unpack into the empty `folder`; the names of the files. Raises ArchiveRefused, OSError."""
    try:
        with zstd.open(archive, "rb") as packed:
            with tarfile.open(fileobj=packed, mode="r|") as tar:
                names = _extract_all(tar, outputs, folder)
            # To the end, where a damaged or shortened archive shows.
            while packed.read(1024 * 1024):
                pass
    except (tarfile.TarError, zstd.ZstdError, EOFError, UnicodeError, ValueError) as error:
        raise ArchiveRefused(f"the stored outputs are damaged: {error}") from error
    return names


def replace_outputs(root: Path, outputs: Patterns, folder: Path, names: list[str]) -> None:
    """Make the outputs those in `folder`, and remove others. Raises ArchiveRefused, OSError."""
    for name in names:
        if passes_a_link(root, name):
            raise ArchiveRefused(f"the way to {name} goes through a symbolic link")
    there = {name for name in outputs.names(root) if not passes_a_link(root, name)}
    # The deepest first, so that folders are empty when their turn comes.
    for name in sorted(there, reverse=True):
        _remove(root / name)
    # One time for all: to `make` none is older than another, and all are newer than their sources.
    now = time.time_ns()
    for part in sorted(folder.rglob("*")):
        target = root / part.relative_to(folder)
        if part.is_dir():
            target.mkdir(exist_ok=True, parents=True)
        else:
            target.parent.mkdir(exist_ok=True, parents=True)
            os.utime(part, ns=(now, now))
            part.replace(target)


def _add(tar: tarfile.TarFile, root: Path, name: str) -> int:
    if problem := name_problem(name):
        raise ArchiveRefused(f"{name!a}: {problem}")
    if passes_a_link(root, name):
        raise ArchiveRefused(f"the way to {name} goes through a symbolic link")
    path = root / name
    found = path.lstat()
    info = tarfile.TarInfo(name)  # without owner and time, which are not what was made
    if stat.S_ISDIR(found.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
        return 0
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise ArchiveRefused(f"{name} is {kind}")
    info.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
    info.size = found.st_size
    with path.open("rb") as file:
        tar.addfile(info, file)
    return 1


def _extract_all(tar: tarfile.TarFile, outputs: Patterns, folder: Path) -> list[str]:
    seen: set[str] = set()
    names, left = [], MOST_BYTES
    for member in tar:
        left -= member.size
        _check(member, outputs, seen, left)
        seen.add(member.name)
        path = folder / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.isdir():
            path.mkdir(exist_ok=True)
            continue
        content = tar.extractfile(member)
        assert content is not None  # noqa: S101  # reason: it is a regular file
        with content, _create(path, program=bool(member.mode & stat.S_IXUSR)) as file:
            shutil.copyfileobj(content, file)
        names.append(member.name)
    return names


def _check(member: tarfile.TarInfo, outputs: Patterns, seen: set[str], left: int) -> None:
    shown = f"{member.name[:200]!a}"
    if member.type not in _PLAIN_TYPES or member.issparse():
        raise ArchiveRefused(f"{shown} is neither a file nor a folder")
    if problem := name_problem(member.name):
        raise ArchiveRefused(f"{shown}: {problem}")
    if not outputs.mean(member.name):
        raise ArchiveRefused(f"{shown} is none of the outputs")
    if member.name in seen:
        raise ArchiveRefused(f"{shown} is there twice")
    if left < 0:
        raise ArchiveRefused(f"it has more than {MOST_BYTES} bytes")


def _create(path: Path, *, program: bool) -> BinaryIO:
    # The rest of the mode is this user's choice (umask), as if the file had been made here.
    mode = 0o777 if program else 0o666
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
    elif not path.is_symlink() and not any(path.iterdir()):
        path.rmdir()
