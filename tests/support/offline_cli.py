"""Commands on a data folder, run here rather than as processes: that is many times faster."""

import json
import sys
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from hitrate.auth.accounts import AccountStore
from hitrate.cli.main import main
from hitrate.clock import Clock
from hitrate.db.engine import open_database


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


class Desk:
    """`run` is `hitrate …` with its exit code; `ok` and `refused` also judge it."""

    def __init__(
        self,
        folder: Path,
        capture: pytest.CaptureFixture[str],
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.folder = folder
        self._capture = capture
        self._patch = patch

    def run(self, *arguments: str, typed: bytes = b"") -> Done:
        """A command that has ended; `typed` is its standard input."""
        self._capture.readouterr()
        whole = ["hitrate", *arguments, "--data-dir", str(self.folder)]
        self._patch.setattr(sys, "argv", whole)
        self._patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(typed)))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capture.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    def ok(self, *arguments: str, typed: bytes = b"") -> str:
        """The output of a command that must succeed."""
        done = self.run(*arguments, typed=typed)
        assert done.code == 0, done.err
        return done.out

    def json(self, *arguments: str) -> Any:
        """The output of a command, with `--json`."""
        return json.loads(self.ok(*arguments, "--json"))

    def refused(self, *arguments: str, typed: bytes = b"") -> str:
        """The one line on standard error of a command that must fail."""
        done = self.run(*arguments, typed=typed)
        assert done.code != 0
        assert done.out == ""
        assert "Traceback" not in done.err
        # Of its own options click says how to use them, too.
        [line] = [ln for ln in done.err.splitlines() if ln.startswith(("hitrate: ", "Error: "))]
        return line

    def at(self, folder: Path) -> "Desk":
        """On another folder."""
        return Desk(folder, self._capture, self._patch)

    def accounts(self) -> AccountStore:
        """The folder's accounts."""
        engine = open_database(self.folder)
        engine.dispose()
        return AccountStore(engine, Clock())

    def files(self) -> bytes:
        """All that the folder holds."""
        return b"".join(file.read_bytes() for file in self.folder.rglob("*") if file.is_file())
