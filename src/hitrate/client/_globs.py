"""Which files of a folder are meant: globs as `turbo` has them, relative to the folder.

`**` crosses folders, `{a,b}` is either, a leading `!` takes away, and a folder stands for all that
is in it. Links to folders are not followed, and nothing outside the folder is ever meant. Names are
paths from the folder, with `/`.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import bracex
from wcmatch import glob

from hitrate.client.errors import BadRequest

WORK_FOLDER = ".hitrate"
_FLAGS = glob.GLOBSTAR | glob.DOTGLOB
_NEVER = (".git", WORK_FOLDER)
_LONGEST_NAME = 1024


class Patterns:
    """The files that some globs mean. Raises BadRequest for one that leaves the folder."""

    def __init__(self, globs: Sequence[str], what: str, never: Iterable[str] = ()) -> None:
        self.globs = [_checked(text, what) for text in _listed(globs, what)]
        wanted = [text for text in self.globs if not text.startswith("!")]
        self._each_wanted = {text: _with_all_below(_alternatives(text, what)) for text in wanted}
        self._wanted = [pattern for each in self._each_wanted.values() for pattern in each]
        unwanted = [f"**/{name}" for name in (*_NEVER, *never)]
        for text in self.globs:
            if text.startswith("!"):
                unwanted += _alternatives(text[1:], what)
        self._unwanted = _with_all_below(unwanted)

    def names(self, root: Path) -> set[str]:
        """Files, links and folders that are there now."""
        return self._found(self._wanted, root)

    def files_of_each(self, root: Path) -> dict[str, set[str]]:
        """Files and links that are there now, by the glob that means them."""
        return {
            text: {name for name in self._found(patterns, root) if _is_no_folder(root / name)}
            for text, patterns in self._each_wanted.items()
        }

    def mean(self, name: str, *, folder: bool = False) -> bool:
        """Whether a file, or a folder, of this name would be one of them."""
        forms = (name, f"{name}/") if folder else (name,)
        return bool(self._wanted) and any(
            glob.globmatch(
                form,
                self._wanted,
                flags=_FLAGS | glob.FORCEUNIX,
                limit=0,
                exclude=self._unwanted,
            )
            for form in forms
        )

    def _found(self, patterns: list[str], root: Path) -> set[str]:
        if not patterns:
            return set()
        found = glob.glob(patterns, flags=_FLAGS, root_dir=root, limit=0, exclude=self._unwanted)
        names = {_plain(name) for name in found} - {"."}
        return {name for name in names if not name.startswith("/") and ".." not in name.split("/")}


def is_name(text: str) -> bool:
    """Whether a glob is the plain name of one file or folder."""
    return not any(letter in text for letter in "*?[{!")


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


def _listed(globs: object, what: str) -> Sequence[str]:
    if not isinstance(globs, list | tuple) or not all(isinstance(text, str) for text in globs):
        raise BadRequest(f"{what} must be a list of globs, not {globs!r}.")
    return globs


def _checked(text: str, what: str) -> str:
    mark = "!" if text.startswith("!") else ""
    for alternative in _alternatives(text.removeprefix("!"), what):
        parts = alternative.split("/")
        if "\\" in alternative or "\0" in alternative:
            raise BadRequest(f"{what}: {text!r} has a character that globs may not have.")
        if alternative.startswith(("/", "~")) or ".." in parts:
            raise BadRequest(f"{what}: {text!r} leaves the folder; globs are relative to it.")
        if set(parts) <= {"", "."}:
            raise BadRequest(f"{what}: {text!r} names no file; '**' means all of them.")
    return mark + _plain(text.removeprefix("!"))


def _alternatives(text: str, what: str) -> list[str]:
    """The globs without braces that it stands for."""
    try:
        return [str(each) for each in bracex.expand(text, keep_escapes=True)] or [""]
    except bracex.ExpansionLimitException as error:
        raise BadRequest(f"{what}: {text!r} stands for too many globs.") from error


def _plain(name: str) -> str:
    return PurePosixPath(name.replace(os.sep, "/")).as_posix()


def _is_no_folder(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _with_all_below(texts: Iterable[str]) -> list[str]:
    return [pattern for text in texts for pattern in (_plain(text), f"{_plain(text)}/**")]
