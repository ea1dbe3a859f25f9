"""Outputs as a zstd tar: the same files give the same bytes, and none is trusted to come back.

Only files and folders are stored. On the way back anything else is refused, as is every name
that is odd or not among the outputs; what was unpacked before stays aside, in the work folder.
"""

import errno
import filecmp
import os
import shutil
import stat
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Self

from hitrate.client._globs import Patterns, name_problem, passes_a_link

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_BYTES = 64 * 10**9
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
_PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_EXTENDED_TYPES = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_EXTENDED_MOST_BYTES = 8192
_NAMES_CLASH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


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
            with tarfile.open(fileobj=packed, mode="r|", tarinfo=_Member) as tar:
                names = _extract_all(tar, outputs, folder)
            # To the end, where a damaged or shortened archive shows.
            while packed.read(1024 * 1024):
                pass
    except (tarfile.TarError, zstd.ZstdError, EOFError, UnicodeError, ValueError) as error:
        raise ArchiveRefused(f"the stored outputs are damaged: {error}") from error
    except OSError as error:
        if error.errno in _NAMES_CLASH:
            raise ArchiveRefused(f"the stored names cannot be: {error}") from error
        raise
    return names


def replace_outputs(root: Path, outputs: Patterns, folder: Path) -> None:
    """Make the outputs those in `folder`, and remove all others.

    What is the same already stays, so that whoever reads it is not disturbed. Raises
    ArchiveRefused, before anything is changed, and OSError.
    """
    parts = {part.relative_to(folder).as_posix(): part for part in sorted(folder.rglob("*"))}
    for name, part in parts.items():
        if part.is_dir() and (root / name).is_symlink():
            raise ArchiveRefused(f"{name} is a symbolic link here")
    there = {name for name in outputs.names(root) if not passes_a_link(root, name)}
    # The deepest first, so that folders are empty when their turn comes.
    for name in sorted(there - parts.keys(), reverse=True):
        _remove(root / name)
    # One time for all: to `make` none is older than another, and all are newer than their sources.
    now = time.time_ns()
    for name, part in parts.items():
        target = root / name
        if part.is_dir():
            if not target.is_dir():
                target.unlink(missing_ok=True)
            target.mkdir(exist_ok=True)
        elif _is_same(part, target):
            os.utime(target, ns=(now, now))
        else:
            os.utime(part, ns=(now, now))
            if target.is_dir() and not target.is_symlink():
                target.rmdir()
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


class _Member(tarfile.TarInfo):
    """A header that is refused where tarfile would be content, or take its time over it.

    tarfile takes a damaged header for the end, and reads extended ones of any size.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # reason: not in typeshed
            raise
        except tarfile.HeaderError as error:
            raise ArchiveRefused(f"the stored outputs are damaged: {error}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        extended = self.type in _EXTENDED_TYPES
        # One in a row, for a long name.
        chain = getattr(tar, "extended_in_a_row", 0) + 1 if extended else 0
        tar.extended_in_a_row = chain  # type: ignore[attr-defined]  # reason: ours
        if chain > 1 or self.size < 0 or (extended and self.size > _EXTENDED_MOST_BYTES):
            raise ArchiveRefused("it has a header that we never write")
        if not extended and self.type not in _PLAIN_TYPES:
            raise ArchiveRefused(f"{self.name[:200]!a} is neither a file nor a folder")
        return super()._proc_member(tar)  # type: ignore[misc, no-any-return]  # reason: tarfile names it for overriding


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
    if member.issparse() or member.size < 0 or (member.isdir() and member.size):
        raise ArchiveRefused(f"{shown} is neither a file nor a folder")
    if problem := name_problem(member.name):
        raise ArchiveRefused(f"{shown}: {problem}")
    if not outputs.mean(member.name, folder=member.isdir()):
        raise ArchiveRefused(f"{shown} is none of the outputs")
    if member.name in seen:
        raise ArchiveRefused(f"{shown} is there twice")
    if left < 0:
        raise ArchiveRefused(f"it has more than {MOST_BYTES} bytes")


def _create(path: Path, *, program: bool) -> BinaryIO:
    # The rest of the mode is this user's choice (umask), as if the file had been made here.
    mode = 0o777 if program else 0o666
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")


def _is_same(part: Path, target: Path) -> bool:
    """Whether the file that is to come is there already, its mode as well."""
    if target.is_symlink() or not target.is_file():
        return False
    same_mode = part.stat().st_mode == target.stat().st_mode
    return same_mode and filecmp.cmp(part, target, shallow=False)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    elif not any(path.iterdir()):
        path.rmdir()
