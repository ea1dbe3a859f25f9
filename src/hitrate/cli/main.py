"""Entry point of the `hitrate` command. Each command is imported when it is called."""

import importlib
import sys
from typing import Any

import click
import msgspec

from hitrate import __version__
from hitrate.cli.output import CommandError
from hitrate.errors import HitrateError

COMMANDS = {
    "serve": "hitrate.cli.serve:serve",
    "team": "hitrate.cli.team:team",
    "user": "hitrate.cli.user:user",
    "token": "hitrate.cli.token:token",
    "events": "hitrate.cli.events:events",
    "stats": "hitrate.cli.stats:stats",
    "runs": "hitrate.cli.runs:runs",
    "run": "hitrate.cli.run:run",
    "artifacts": "hitrate.cli.artifacts:artifacts",
    "export": "hitrate.cli.export:export",
    "report": "hitrate.cli.report:report",
    "gc": "hitrate.cli.gc:gc",
    "doctor": "hitrate.cli.doctor:doctor",
    "demo": "hitrate.cli.demo:demo",
    "exec": "hitrate.cli.exec:exec_",
}


class RootGroup(click.Group):
    """Group of all commands, which turns expected errors of commands into CommandError.

    A command is imported when it is called, so that `hitrate exec` needs only the client's
    libraries and starts fast.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises CommandError."""
        try:
            return super().invoke(ctx)
        except HitrateError as error:
            raise CommandError(str(error)) from error
        except msgspec.ValidationError as error:
            raise CommandError(f"Invalid value: {error}") from error
        except UnicodeError as error:
            raise CommandError("The input is not valid UTF-8.") from error

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name].split(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            return _unavailable_command(name, str(error.name))
        return command


def _unavailable_command(name: str, library: str) -> click.Command:
    """Return a command that explains which libraries are missing."""

    def fail(**_arguments: Any) -> None:
        raise click.ClickException(
            f"`hitrate {name}` needs the server, whose libraries are not installed ({library} is "
            "missing). Install hitrate with its extra `server`."
        )

    return click.Command(
        name,
        callback=fail,
        short_help="Not available: needs the extra `server`.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hitrate")
def cli() -> None:
    """A self-hosted Turborepo Remote Cache that records every cache usage event."""


def main() -> None:
    """Run the command line. An expected error is one line on standard error and exit code 1."""
    try:
        cli(prog_name="hitrate")
    except BrokenPipeError:  # the reader closed the pipe
        sys.stderr.close()
        sys.exit(0)
