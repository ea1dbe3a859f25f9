"""Globs as in `turbo`, relative to a root directory.

`**` crosses directories, `{a,b}` matches either, a leading `!` excludes, and a directory matches
everything in it. Links to directories are not followed, and nothing outside the root matches. Names
are paths relative to the root, with `/`.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import bracex
from wcmatch import glob

from hitrate.client.errors import BadRequest

WORK_DIR = ".hitrate"
_FLAGS = glob.GLOBSTAR | glob.DOTGLOB
_ALWAYS_EXCLUDED = (".git", WORK_DIR)
_MAX_NAME_BYTES = 1024


class GlobSet:
    """The globs of an option. Raises BadRequest for a glob that leaves the root."""

    def __init__(
        self, globs: Sequence[str], option: str, always_excluded: Iterable[str] = ()
    ) -> None:
        self.globs = [_validate_glob(text, option) for text in _validate_list(globs, option)]
        included = [text for text in self.globs if not text.startswith("!")]
        self._patterns_by_glob = {
            text: _with_descendants(_alternatives(text, option)) for text in included
        }
        self._included = [pattern for each in self._patterns_by_glob.values() for pattern in each]
        excluded = [f"**/{name}" for name in (*_ALWAYS_EXCLUDED, *always_excluded)]
        for text in self.globs:
            if text.startswith("!"):
                excluded += _alternatives(text[1:], option)
        self._excluded = _with_descendants(excluded)

    def names(self, root: Path) -> set[str]:
        """Return existing files, links and directories that match."""
        return self._existing_names(self._included, root)

    def files_of_each(self, root: Path) -> dict[str, set[str]]:
        """Return existing files and links, by the glob that matches them."""
        return {
            text: {
                name
                for name in self._existing_names(patterns, root)
                if _is_not_directory(root / name)
            }
            for text, patterns in self._patterns_by_glob.items()
        }

    def matches(self, name: str, *, directory: bool = False) -> bool:
        """Return whether a file or directory of this name would match."""
        forms = (name, f"{name}/") if directory else (name,)
        return bool(self._included) and any(
            glob.globmatch(
                form,
                self._included,
                flags=_FLAGS | glob.FORCEUNIX,
                limit=0,
                exclude=self._excluded,
            )
            for form in forms
        )

    def _existing_names(self, patterns: list[str], root: Path) -> set[str]:
        if not patterns:
            return set()
        matches = glob.glob(patterns, flags=_FLAGS, root_dir=root, limit=0, exclude=self._excluded)
        names = {_plain(name) for name in matches} - {"."}
        return {name for name in names if not name.startswith("/") and ".." not in name.split("/")}


def is_plain_name(text: str) -> bool:
    """Return whether a glob is the plain name of one file or directory."""
    return not any(letter in text for letter in "*?[{!")


def invalid_name_reason(name: str) -> str | None:
    """Return why a file of this name cannot be stored or restored, or None."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it leaves the directory, or is not normalized"
    if "\\" in name or not name.isprintable():
        return "it contains a backslash or unprintable characters"
    if os.name == "nt" and ":" in name:
        return "it contains a colon, which Windows does not allow"
    if len(name.encode(errors="surrogatepass")) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes"
    return None


def crosses_symlink(root: Path, name: str) -> bool:
    """Return whether a parent directory of this file, below `root`, is a symbolic link."""
    return any((root / parent).is_symlink() for parent in PurePosixPath(name).parents)


def _validate_list(globs: object, option: str) -> Sequence[str]:
    if not isinstance(globs, list | tuple) or not all(isinstance(text, str) for text in globs):
        raise BadRequest(f"{option} must be a list of globs, not {globs!r}.")
    return globs


def _validate_glob(text: str, option: str) -> str:
    mark = "!" if text.startswith("!") else ""
    for alternative in _alternatives(text.removeprefix("!"), option):
        parts = alternative.split("/")
        if "\\" in alternative or "\0" in alternative:
            raise BadRequest(f"{option}: {text!r} contains a backslash or a NUL.")
        if alternative.startswith(("/", "~")) or ".." in parts:
            raise BadRequest(f"{option}: {text!r} leaves the root; globs are relative to it.")
        if set(parts) <= {"", "."}:
            raise BadRequest(f"{option}: {text!r} names no file; use '**' for all files.")
    return mark + _plain(text.removeprefix("!"))


def _alternatives(text: str, option: str) -> list[str]:
    """Expand braces."""
    try:
        return [str(each) for each in bracex.expand(text, keep_escapes=True)] or [""]
    except bracex.ExpansionLimitException as error:
        raise BadRequest(f"{option}: {text!r} expands to too many globs.") from error


def _plain(name: str) -> str:
    return PurePosixPath(name.replace(os.sep, "/")).as_posix()


def _is_not_directory(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _with_descendants(texts: Iterable[str]) -> list[str]:
    return [pattern for text in texts for pattern in (_plain(text), f"{_plain(text)}/**")]
