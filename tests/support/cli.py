"""Runs `hitrate` commands in the test process, which is many times faster than as processes."""

from collections.abc import Mapping

from click.testing import CliRunner, Result

from hitrate.cli.main import cli


def run_cli(
    *arguments: str, env: Mapping[str, str | None] | None = None, stdin: bytes = b""
) -> Result:
    """Run a command; `env` changes the environment. An unexpected exception is raised."""
    return CliRunner().invoke(
        cli, arguments, input=stdin, env=env, prog_name="hitrate", catch_exceptions=False
    )


def error_line(result: Result) -> str:
    """Return the one line on standard error that reports the failure of a command."""
    lines = result.stderr.splitlines()
    # For invalid options, click also prints the usage.
    [line] = [line for line in lines if line.startswith(("hitrate: ", "Error: "))]
    return line
