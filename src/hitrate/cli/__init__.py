"""The command line: one file a command."""

import sys

import click

from hitrate import __version__
from hitrate.cli.doctor import doctor
from hitrate.cli.events import events
from hitrate.cli.gc import gc
from hitrate.cli.serve import serve
from hitrate.cli.team import team
from hitrate.cli.token import token
from hitrate.errors import HitrateError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hitrate")
def cli() -> None:
    """A self-hosted Turborepo Remote Cache that keeps every cache usage event."""


for command in (serve, team, token, events, gc, doctor):
    cli.add_command(command)


def main() -> None:
    """Run a command; an expected error is one line on standard error and exit code 1."""
    try:
        cli(prog_name="hitrate")
    except HitrateError as error:
        click.echo(f"hitrate: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)
