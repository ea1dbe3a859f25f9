"""Runs `hitrate` commands on a data directory, in the test process."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result

from hitrate.auth.accounts import AccountStore
from hitrate.clock import Clock
from hitrate.db.engine import open_database
from tests.support.cli import error_line, run_cli


@dataclass(frozen=True)
class OfflineCli:
    """The command line with `--data-dir`."""

    data_dir: Path

    def run(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run a command."""
        return run_cli(*arguments, "--data-dir", str(self.data_dir), stdin=stdin)

    def run_ok(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed, and return its standard output."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def run_json(self, *arguments: str) -> Any:
        """Run a command that must succeed with `--json`, and return its decoded output."""
        return json.loads(self.run_ok(*arguments, "--json"))

    def run_error(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that must fail without output, and return its line on standard error."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code != 0
        assert result.stdout == ""
        return error_line(result)

    def accounts(self) -> AccountStore:
        """Open the accounts in the data directory."""
        engine = open_database(self.data_dir)
        engine.dispose()
        return AccountStore(engine, Clock())

    def file_contents(self) -> bytes:
        """Return the contents of all files in the data directory."""
        return b"".join(file.read_bytes() for file in self.data_dir.rglob("*") if file.is_file())
