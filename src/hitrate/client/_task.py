"""A task and its hash: the same for the same work on the same inputs, and for nothing else."""

import hashlib
import inspect
import os
import platform
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hitrate.client._globs import Patterns, is_name
from hitrate.client.errors import BadRequest

_FORMAT = 1  # another whenever what is hashed, or how outputs are stored, changes


@dataclass(frozen=True)
class Task:
    """What is to be done once. `env`: the values that it depends on; `key`: anything else."""

    work: Sequence[str] | Callable[[], Any]
    root: Path
    inputs: Patterns
    outputs: Patterns
    env: Mapping[str, str | None]
    key: str

    def check(self) -> None:
        """Raises BadRequest for what cannot be a task."""
        if not self.root.is_dir():
            raise BadRequest(f"root: {self.root} is no folder.")
        if not callable(self.work):
            _check_texts("The command", self.work, least=1)
        _check_texts("key", [self.key])
        self.identity()

    def identity(self) -> list[str]:
        """What is done, whatever the inputs. Raises BadRequest."""
        return _identity(self.work, self.key)

    def input_names(self) -> list[str]:
        """The input files, in order. What the task itself makes is none of its inputs.

        Raises BadRequest where the globs cannot mean what one would think: a name that is not
        there, a glob for outputs only, or no file at all.
        """
        names: set[str] = set()
        for text, found in self.inputs.files_of_each(self.root).items():
            sources = {name for name in found if not self.outputs.mean(name)}
            if found and not sources:
                raise BadRequest(f"inputs: all that {text!r} means are outputs, too")
            if is_name(text) and not os.path.lexists(self.root / text):
                raise BadRequest(f"inputs: there is no {text!r}")
            names |= sources
        if not names:
            raise BadRequest(f"inputs: nothing matches {', '.join(map(repr, self.inputs.globs))}")
        return sorted(names)

    def output_names(self) -> list[str]:
        """What there is of the outputs, in order. Raises BadRequest for what is missing."""
        found = self.outputs.names(self.root)
        for text in self.outputs.globs:
            if is_name(text) and text not in found:
                raise BadRequest(f"there is no output {text!r}")
        if self.outputs.globs and not found:
            raise BadRequest(f"no output matches {', '.join(map(repr, self.outputs.globs))}")
        return sorted(found)

    def fingerprint(self) -> str:
        """64 hex digits. Raises BadRequest, and OSError for an input that cannot be read."""
        parts = {
            "format": _FORMAT,
            "platform": [sys.platform, platform.machine()],
            "work": self.identity(),
            "outputs": sorted(_text(pattern) for pattern in self.outputs.globs),
            "env": {_text(name): value and _text(value) for name, value in self.env.items()},
            "key": _text(self.key),
            "inputs": [(_text(name), *_state(self.root / name)) for name in self.input_names()],
        }
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def environment(names: Sequence[str]) -> dict[str, str | None]:
    """The values of these variables; None for what is not set. Raises BadRequest."""
    _check_texts("env", names)
    for name in names:
        if not name or "=" in name:
            raise BadRequest(f"env: {name!r} is not the name of a variable.")
    return {name: os.environ.get(name) for name in names}


def _text(text: str) -> str:
    # File names and arguments may be bytes that are no text; one letter a byte can be any.
    return os.fsencode(text).decode("latin-1")


def _state(path: Path) -> tuple[str, ...]:
    """What a task can see of an input: what it is, whether it is a program, what is in it."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = _text(os.readlink(path))  # noqa: PTH115  # reason: as it is, bytes and all
        return ("link", target, *_behind(path))
    return _file_state(path) if stat.S_ISREG(mode) else ("special",)


def _behind(link: Path) -> tuple[str, ...]:
    """What a task can see through a link: a file, or a folder with all that is in it."""
    if link.is_file():
        return _file_state(link)
    if not link.is_dir():
        return ()
    digest, seen = hashlib.sha256(), {os.path.realpath(link)}
    for folder, folders, files in os.walk(link, followlinks=True):
        # Each folder once, or links that lead back would never end.
        folders[:] = sorted(name for name in folders if _is_new(Path(folder, name), seen))
        for name in sorted(files):
            path = Path(folder, name)
            state = _file_state(path) if path.is_file() else ("special",)
            digest.update(repr((_text(str(path.relative_to(link))), *state)).encode())
    return ("folder", digest.hexdigest())


def _is_new(folder: Path, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    is_new = real not in seen
    seen.add(real)
    return is_new


def _file_state(path: Path) -> tuple[str, str]:
    kind = "program" if path.stat().st_mode & stat.S_IXUSR else "file"
    return (kind, _content(path))


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(work: Sequence[str] | Callable[[], Any], key: str) -> list[str]:
    if not callable(work):
        return ["command", *(_text(argument) for argument in work)]
    name = getattr(work, "__qualname__", f"<{type(work).__name__}>")
    if not key and ("<" in name or _has_state(work)):
        raise BadRequest(
            f"{name} may depend on what cannot be seen here: say what it is with key=."
        )
    source = _source_of(work)
    if source is None and not key:
        raise BadRequest(f"The source of {name} cannot be read: tell its version with key=.")
    return ["function", str(getattr(work, "__module__", "")), name, source or ""]


def _has_state(work: Callable[[], Any]) -> bool:
    """Whether two functions of this name may do different things."""
    owner = getattr(work, "__self__", None)
    if owner is not None and not inspect.ismodule(owner):
        return True
    return any(getattr(work, f"__{name}__", None) for name in ("closure", "defaults", "kwdefaults"))


def _check_texts(what: str, texts: object, least: int = 0) -> None:
    if not isinstance(texts, list | tuple) or len(texts) < least:
        raise BadRequest(f"{what} must be a list of texts, not {texts!r}.")
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise BadRequest(f"{what}: {text!r} is not a text that it may have.")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise BadRequest(f"{what}: {text!a} is no valid text.") from error


def _source_of(work: Callable[[], Any]) -> str | None:
    """The content of the file that a function stands in: another one may be another function."""
    try:
        path = inspect.getsourcefile(work)
        return _content(Path(path)) if path else None
    except (TypeError, OSError):
        return None
