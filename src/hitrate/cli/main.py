"""Entry point of the `hitrate` command. Each command is imported when it is called."""

import importlib
import sys
from typing import Any, NoReturn

import click
import msgspec

from hitrate import __version__
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


class _Commands(click.Group):
    """A group that imports commands lazily, so that `exec` needs only the client's libraries."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name].split(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            return _missing_command(name, str(error.name))
        return command


def _missing_command(name: str, library: str) -> click.Command:
    def refuse(**_arguments: Any) -> None:
        raise click.ClickException(
            f"`hitrate {name}` needs the server, whose libraries are not installed ({library} is "
            "missing). Install hitrate with its extra `server`."
        )

    return click.Command(
        name,
        callback=refuse,
        short_help="Not available: needs the extra `server`.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hitrate")
def cli() -> None:
    """A self-hosted Turborepo Remote Cache that records every cache usage event."""


def _fail(message: str) -> NoReturn:
    click.echo(f"hitrate: {message}", err=True)
    sys.exit(1)


def main() -> None:
    """Run a command. An expected error is one line on standard error and exit code 1."""
    try:
        cli(prog_name="hitrate")
    except HitrateError as error:
        _fail(str(error))
    except msgspec.ValidationError as error:
        _fail(f"Invalid value: {error}")
    except UnicodeError:
        _fail("The input is not valid UTF-8.")
    except BrokenPipeError:  # the reader closed the pipe
        sys.stderr.close()
        sys.exit(0)
