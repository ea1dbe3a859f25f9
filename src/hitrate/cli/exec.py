"""`hitrate exec`: run a command once for its inputs, with any build tool."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hitrate.cli.output import size_text
from hitrate.client import BadRequest, CachedRun, Outcome, cached

Command = TypeVar("Command", bound=Callable[..., Any])


def _globs(name: str, help_text: str, *, required: bool = False) -> Callable[[Command], Command]:
    return click.option(
        name, multiple=True, required=required, metavar="GLOB", help=f"{help_text} May be repeated."
    )


@click.command("exec", context_settings={"allow_interspersed_args": False})
@_globs("--inputs", "Files that it reads; '!GLOB' takes away.", required=True)
@_globs("--outputs", "Files and folders that it makes.")
@click.option("--env", multiple=True, metavar="NAME",
              help="Environment variable that it depends on. May be repeated.")  # fmt: skip
@click.option("--key", default="", metavar="TEXT",
              help="Anything else that it depends on, such as a compiler's version.")  # fmt: skip
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              help="The folder of the globs, where the command runs. [default: here]")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Say nothing but problems.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], quiet: bool, **task: Any) -> None:
    """Run COMMAND, unless the remote cache has what it would make.

    The cache is the one that turbo would use: TURBO_API, TURBO_TOKEN, TURBO_TEAM. When it cannot
    be used, the command runs as if there were none. The exit code is the command's. Commands of
    one build that share a session set HITRATE_SESSION.

    \b
    hitrate exec --inputs 'src/**' --inputs Makefile --outputs dist -- make dist
    """
    try:
        done = cached(command, **task)
    except BadRequest as error:
        raise click.UsageError(str(error)) from error
    if done.problem or not quiet:
        click.echo(f"hitrate: {_told(done)}", err=True)
    sys.exit(done.exit_code)


def _told(done: CachedRun[None]) -> str:
    took = f"{done.duration_ms / 1000:.1f} s"
    files = f"{done.files} file{'' if done.files == 1 else 's'}, {size_text(done.size_bytes)}"
    if done.outcome is Outcome.HIT:
        return f"restored from the cache ({files}); making it had taken {took}"
    parts = ["not in the cache"] if done.outcome is Outcome.MISS else []
    if done.problem:
        parts.append(done.problem)
    parts.append(f"ran in {took}" + (f", stored ({files})" if done.stored else ""))
    return "; ".join(parts)
