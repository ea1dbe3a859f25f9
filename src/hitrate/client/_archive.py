"""Outputs as a reproducible zstd-compressed tar archive, which is validated before it is restored.

Only files and directories are stored. Unpacking rejects everything else, unusual names, and names
that are not outputs. It unpacks into the work directory, so a rejected archive changes nothing.
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

from hitrate.client._globs import GlobSet, crosses_symlink, invalid_name_reason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_ARCHIVE_BYTES = 64 * 10**9
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
_PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_EXTENDED_TYPES = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_MAX_EXTENDED_HEADER_BYTES = 8192
_NAMES_CLASH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


class ArchiveRejected(Exception):
    """The outputs cannot be stored, or the archive must not be restored."""


def pack(root: Path, names: Iterable[str], archive: Path) -> int:
    """Write files and directories into `archive` and return the number of files.

    Raises ArchiveRejected and OSError.
    """
    files = 0
    with (
        zstd.open(archive, "wb", options=_OPTIONS) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(names):
            files += _add(tar, root, name)
    return files


def unpack(archive: Path, outputs: GlobSet, directory: Path) -> list[str]:
    """Unpack into an empty directory and return the file names.

    Raises ArchiveRejected, OSError.
    """
    try:
        with zstd.open(archive, "rb") as packed:
            with tarfile.open(fileobj=packed, mode="r|", tarinfo=_Member) as tar:
                names = _extract_all(tar, outputs, directory)
            # Read to the end, to detect a damaged or truncated archive.
            while packed.read(1024 * 1024):
                pass
    except (tarfile.TarError, zstd.ZstdError, EOFError, UnicodeError, ValueError) as error:
        raise ArchiveRejected(f"the stored outputs are damaged: {error}") from error
    except OSError as error:
        if error.errno in _NAMES_CLASH:
            raise ArchiveRejected(
                f"the stored names conflict, or are not valid on this system: {error}"
            ) from error
        raise
    return names


def replace_outputs(root: Path, outputs: GlobSet, directory: Path) -> None:
    """Replace the outputs by the files in `directory`, and remove all others.

    Identical files are left in place, so that programs that read them are not disturbed. Raises
    ArchiveRejected before anything is changed, and OSError.
    """
    parts = {part.relative_to(directory).as_posix(): part for part in sorted(directory.rglob("*"))}
    for name, part in parts.items():
        if part.is_dir() and (root / name).is_symlink():
            raise ArchiveRejected(f"{name} is a symbolic link in the root directory")
    existing = {name for name in outputs.names(root) if not crosses_symlink(root, name)}
    # Deepest first, so that directories are empty when they are removed.
    for name in sorted(existing - parts.keys(), reverse=True):
        _remove(root / name)
    # The same time for all files, so that no output is older than another or a source for `make`.
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
    if problem := invalid_name_reason(name):
        raise ArchiveRejected(f"{name!a}: {problem}")
    if crosses_symlink(root, name):
        raise ArchiveRejected(f"the path of {name} contains a symbolic link")
    path = root / name
    status = path.lstat()
    info = tarfile.TarInfo(name)  # without owner and time, so that archives are reproducible
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
        return 0
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file"
        raise ArchiveRejected(f"{name} is {kind}")
    info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    info.size = status.st_size
    with path.open("rb") as file:
        tar.addfile(info, file)
    return 1


class _Member(tarfile.TarInfo):
    """A tar header with stricter rules than tarfile's.

    tarfile treats a damaged header as the end, and reads extended headers of any size.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # reason: not in typeshed
            raise
        except tarfile.HeaderError as error:
            raise ArchiveRejected(f"the stored outputs are damaged: {error}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        extended = self.type in _EXTENDED_TYPES
        # At most one extended header per file, for a long name.
        chain = getattr(tar, "extended_in_a_row", 0) + 1 if extended else 0
        tar.extended_in_a_row = chain  # type: ignore[attr-defined]  # reason: not an attribute of tarfile
        if chain > 1 or self.size < 0 or (extended and self.size > _MAX_EXTENDED_HEADER_BYTES):
            raise ArchiveRejected("the stored outputs have an unexpected header")
        if not extended and self.type not in _PLAIN_TYPES:
            raise ArchiveRejected(f"{self.name[:200]!a} is neither a file nor a directory")
        return super()._proc_member(tar)  # type: ignore[misc, no-any-return]  # reason: tarfile names it for overriding


def _extract_all(tar: tarfile.TarFile, outputs: GlobSet, directory: Path) -> list[str]:
    seen: set[str] = set()
    names, remaining_bytes = [], MAX_ARCHIVE_BYTES
    for member in tar:
        remaining_bytes -= member.size
        _check(member, outputs, seen, remaining_bytes)
        seen.add(member.name)
        path = directory / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.isdir():
            path.mkdir(exist_ok=True)
            continue
        content = tar.extractfile(member)
        assert content is not None  # noqa: S101  # reason: it is a regular file
        with content, _create(path, executable=bool(member.mode & stat.S_IXUSR)) as file:
            shutil.copyfileobj(content, file)
        names.append(member.name)
    return names


def _check(member: tarfile.TarInfo, outputs: GlobSet, seen: set[str], remaining_bytes: int) -> None:
    name = f"{member.name[:200]!a}"
    if member.issparse() or member.size < 0 or (member.isdir() and member.size):
        raise ArchiveRejected(f"{name} is neither a file nor a directory")
    if problem := invalid_name_reason(member.name):
        raise ArchiveRejected(f"{name}: {problem}")
    if not outputs.matches(member.name, directory=member.isdir()):
        raise ArchiveRejected(f"{name} is not an output")
    if member.name in seen:
        raise ArchiveRejected(f"{name} occurs twice")
    if remaining_bytes < 0:
        raise ArchiveRejected(f"the stored outputs have more than {MAX_ARCHIVE_BYTES} bytes")


def _create(path: Path, *, executable: bool) -> BinaryIO:
    # The umask applies, as if the file had been created here.
    mode = 0o777 if executable else 0o666
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")


def _is_same(part: Path, target: Path) -> bool:
    """Return whether the target already has the same content and mode."""
    if target.is_symlink() or not target.is_file():
        return False
    same_mode = part.stat().st_mode == target.stat().st_mode
    return same_mode and filecmp.cmp(part, target, shallow=False)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    elif not any(path.iterdir()):
        path.rmdir()
