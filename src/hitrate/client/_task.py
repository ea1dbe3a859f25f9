"""A task and its hash, which identifies the work and its inputs."""

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

from hitrate.client._globs import GlobSet, is_plain_name
from hitrate.client.errors import BadRequest

_FORMAT = 1  # changes whenever the hashed parts or the archive format change


@dataclass(frozen=True)
class Task:
    """Work that is run once for its inputs. `env`: relevant variables; `key`: anything else."""

    work: Sequence[str] | Callable[[], Any]
    root: Path
    inputs: GlobSet
    outputs: GlobSet
    env: Mapping[str, str | None]
    key: str

    def check(self) -> None:
        """Raise BadRequest if the task is invalid."""
        if not self.root.is_dir():
            raise BadRequest(f"root: {self.root} is not a directory.")
        if not callable(self.work):
            _validate_strings("The command", self.work, min_length=1)
        _validate_strings("key", [self.key])
        self.identity()

    def identity(self) -> list[str]:
        """Return the identity of the work, without its inputs. Raises BadRequest."""
        return _identity(self.work, self.key)

    def input_names(self) -> list[str]:
        """Return the input files in order. Outputs of the task are not inputs.

        Raises BadRequest if a plain name does not exist, a glob matches only outputs, or nothing
        matches.
        """
        names: set[str] = set()
        for text, files in self.inputs.files_of_each(self.root).items():
            sources = {name for name in files if not self.outputs.matches(name)}
            if files and not sources:
                raise BadRequest(f"inputs: everything that {text!r} matches is an output")
            if is_plain_name(text) and not os.path.lexists(self.root / text):
                raise BadRequest(f"inputs: {text!r} does not exist")
            names |= sources
        if not names:
            raise BadRequest(f"inputs: nothing matches {', '.join(map(repr, self.inputs.globs))}")
        return sorted(names)

    def output_names(self) -> list[str]:
        """Return the existing outputs in order. Raises BadRequest if an output is missing."""
        existing = self.outputs.names(self.root)
        for text in self.outputs.globs:
            if is_plain_name(text) and text not in existing:
                raise BadRequest(f"the output {text!r} does not exist")
        if self.outputs.globs and not existing:
            raise BadRequest(f"no output matches {', '.join(map(repr, self.outputs.globs))}")
        return sorted(existing)

    def fingerprint(self) -> str:
        """Return the hash, 64 hex digits. Raises BadRequest; OSError for an unreadable input."""
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
    """Return the values of environment variables, None if unset. Raises BadRequest."""
    _validate_strings("env", names)
    for name in names:
        if not name or "=" in name:
            raise BadRequest(f"env: {name!r} is not a variable name.")
    return {name: os.environ.get(name) for name in names}


def _text(text: str) -> str:
    # File names and arguments may be any bytes; latin-1 maps each byte to one character.
    return os.fsencode(text).decode("latin-1")


def _state(path: Path) -> tuple[str, ...]:
    """Return the state of an input that a task can observe: type, executable bit and content."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = _text(os.readlink(path))  # noqa: PTH115  # reason: the raw bytes
        return ("link", target, *_link_target_state(path))
    return _file_state(path) if stat.S_ISREG(mode) else ("special",)


def _link_target_state(link: Path) -> tuple[str, ...]:
    """Return the state of a link's target: a file, or a directory with its content."""
    if link.is_file():
        return _file_state(link)
    if not link.is_dir():
        return ()
    digest, visited = hashlib.sha256(), {os.path.realpath(link)}
    for directory, directories, files in os.walk(link, followlinks=True):
        # Each directory once, because links may form a cycle.
        directories[:] = sorted(
            name for name in directories if _is_new(Path(directory, name), visited)
        )
        for name in sorted(files):
            path = Path(directory, name)
            state = _file_state(path) if path.is_file() else ("special",)
            digest.update(repr((_text(str(path.relative_to(link))), *state)).encode())
    return ("directory", digest.hexdigest())


def _is_new(directory: Path, visited: set[str]) -> bool:
    real = os.path.realpath(directory)
    is_new = real not in visited
    visited.add(real)
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
    if not key and ("<" in name or _may_vary(work)):
        raise BadRequest(
            f"{name} may depend on values that are not in its source: name them with key=."
        )
    source = _source_digest(work)
    if source is None and not key:
        raise BadRequest(f"The source of {name} cannot be read: pass its version as key=.")
    return ["function", str(getattr(work, "__module__", "")), name, source or ""]


def _may_vary(work: Callable[[], Any]) -> bool:
    """Return whether two functions of this name may behave differently."""
    owner = getattr(work, "__self__", None)
    if owner is not None and not inspect.ismodule(owner):
        return True
    return any(getattr(work, f"__{name}__", None) for name in ("closure", "defaults", "kwdefaults"))


def _validate_strings(option: str, texts: object, min_length: int = 0) -> None:
    if not isinstance(texts, list | tuple) or len(texts) < min_length:
        raise BadRequest(f"{option} must be a list of strings, not {texts!r}.")
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise BadRequest(f"{option}: {text!r} is not a valid string.")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise BadRequest(f"{option}: {text!a} cannot be encoded.") from error


def _source_digest(work: Callable[[], Any]) -> str | None:
    """Return the digest of the file that defines a function, or None."""
    try:
        path = inspect.getsourcefile(work)
        return _content(Path(path)) if path else None
    except (TypeError, OSError):
        return None
