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

from hitrate.client._patterns import Patterns
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
        if not callable(self.work) and (isinstance(self.work, str) or not self.work):
            raise BadRequest("The command must be a list of texts, its name first.")
        self.identity()

    def identity(self) -> list[str]:
        """What is done, whatever the inputs. Raises BadRequest."""
        return _identity(self.work, self.key)

    def input_names(self) -> list[str]:
        """The input files, in order. What the task itself makes is none of its inputs.

        Raises BadRequest when there are none: then nothing would ever make it run again.
        """
        found = self.inputs.files(self.root)
        names = sorted(name for name in found if not self.outputs.mean(name))
        if not names:
            why = "each of them is an output too" if found else "no file matches them"
            raise BadRequest(f"inputs: {why}")
        return names

    def fingerprint(self) -> str:
        """64 hex digits. Raises BadRequest, and OSError for an input that cannot be read."""
        parts = {
            "format": _FORMAT,
            "platform": [sys.platform, platform.machine()],
            "work": self.identity(),
            "outputs": sorted(_text(pattern) for pattern in self.outputs.texts),
            "env": {_text(name): value and _text(value) for name, value in self.env.items()},
            "key": _text(self.key),
            "inputs": [(_text(name), *_state(self.root / name)) for name in self.input_names()],
        }
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _text(text: str) -> str:
    # File names and arguments may be bytes that are no text; one letter a byte can be any.
    return os.fsencode(text).decode("latin-1")


def _state(path: Path) -> tuple[str, ...]:
    """What a task can see of an input: what it is, whether it is a program, what is in it."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = _text(os.readlink(path))  # noqa: PTH115  # reason: as it is, bytes and all
        return ("link", target, _content(path) if path.is_file() else "")
    if stat.S_ISREG(mode):
        return ("program" if mode & stat.S_IXUSR else "file", _content(path))
    return ("special",)


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(work: Sequence[str] | Callable[[], Any], key: str) -> list[str]:
    if not callable(work):
        return ["command", *(_text(argument) for argument in work)]
    name = getattr(work, "__qualname__", "<unnamed>")
    if not key and (name.endswith(">") or getattr(work, "__closure__", None)):
        raise BadRequest(
            f"{name} may depend on what cannot be seen here: say what it is with key=."
        )
    source = _source_of(work)
    if source is None and not key:
        raise BadRequest(f"The source of {name} cannot be read: tell its version with key=.")
    return ["function", str(getattr(work, "__module__", "")), name, source or ""]


def _source_of(work: Callable[[], Any]) -> str | None:
    """The content of the file that a function stands in: another one may be another function."""
    try:
        path = inspect.getsourcefile(work)
        return _content(Path(path)) if path else None
    except (TypeError, OSError):
        return None
