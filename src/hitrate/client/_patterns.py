"""Which files of a folder are meant: globs as `turbo` has them, relative to the folder.

`**` crosses folders, `{a,b}` is either, a leading `!` takes away, and a folder stands for all that
is in it. Links to folders are not followed. Names are paths from the folder, with `/`.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from wcmatch import glob

from hitrate.client.errors import BadRequest

WORK_FOLDER = ".hitrate"
_REAL = glob.GLOBSTAR | glob.DOTGLOB | glob.BRACE
_FLAGS = _REAL | glob.FORCEUNIX
_NEVER = (".git", WORK_FOLDER)
_LONGEST_NAME = 1024


class Patterns:
    """The files that some globs mean. Raises BadRequest for one that leaves the folder."""

    def __init__(self, patterns: Sequence[str], what: str, never: Iterable[str] = ()) -> None:
        if isinstance(patterns, str):
            raise BadRequest(f"{what} must be a list of globs, not one text.")
        self.texts = [_checked(text, what) for text in patterns]
        self._wanted = _with_all_below(text for text in self.texts if not text.startswith("!"))
        left_out = _with_all_below(text[1:] for text in self.texts if text.startswith("!"))
        self._unwanted = left_out + _with_all_below(f"**/{name}" for name in (*_NEVER, *never))

    def files(self, root: Path) -> set[str]:
        """Files and links that are there now."""
        return {name for name in self.names(root) if _is_no_folder(root / name)}

    def names(self, root: Path) -> set[str]:
        """Files, links and folders that are there now."""
        if not self._wanted:
            return set()
        found = glob.glob(
            self._wanted,
            flags=_REAL,
            root_dir=root,
            limit=0,
            exclude=self._unwanted,
        )
        return {_plain(name) for name in found} - {"", "."}

    def idle(self, root: Path) -> list[str]:
        """Those that match nothing now: perhaps they are misspelt."""
        return [
            text
            for text in self.texts
            if not text.startswith("!")
            and not glob.glob(_with_all_below([text]), flags=_REAL, root_dir=root, limit=0)
        ]

    def mean(self, name: str) -> bool:
        """Whether a file of this name would be one of them."""
        return bool(self._wanted) and glob.globmatch(
            name, self._wanted, flags=_FLAGS, limit=0, exclude=self._unwanted
        )


def name_problem(name: str) -> str | None:
    """Why a file of this name is neither stored nor restored, or None."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it leaves the folder, or is not in its plainest form"
    if "\\" in name or not name.isprintable():
        return "it has characters that file names should not have"
    if os.name == "nt" and ":" in name:
        return "it has a colon"
    if len(name.encode(errors="surrogatepass")) > _LONGEST_NAME:
        return f"it is longer than {_LONGEST_NAME} bytes"
    return None


def passes_a_link(root: Path, name: str) -> bool:
    """Whether a folder on the way to this file, below `root`, is a link to elsewhere."""
    return any((root / parent).is_symlink() for parent in PurePosixPath(name).parents)


def _is_no_folder(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _checked(text: str, what: str) -> str:
    bare = text.removeprefix("!")
    plain = _plain(bare)
    if bare.startswith(("/", "~")) or ".." in plain.split("/"):
        raise BadRequest(f"{what}: {text!r} leaves the folder; globs are relative to it.")
    if plain in ("", "."):
        raise BadRequest(f"{what}: {text!r} names no file; '**' means all of them.")
    return "!" + plain if text.startswith("!") else plain


def _plain(name: str) -> str:
    return PurePosixPath(name.replace(os.sep, "/")).as_posix() if name else ""


def _with_all_below(texts: Iterable[str]) -> list[str]:
    return [pattern for text in texts for pattern in (text, f"{text}/**")]
