"""`hitrate exec`: run a command once for its inputs, with any build tool."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hitrate.client import BadRequest, CachedRun, Outcome, cached
from hitrate.units import format_size

Command = TypeVar("Command", bound=Callable[..., Any])


def _globs(name: str, help_text: str, *, required: bool = False) -> Callable[[Command], Command]:
    return click.option(
        name, multiple=True, required=required, metavar="GLOB", help=f"{help_text} May be repeated."
    )


@click.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    options_metavar="--inputs GLOB [OPTIONS] --",
)
@_globs("--inputs", "Files that it reads; '!GLOB' takes away. Quote globs.", required=True)
@_globs("--outputs", "Files and folders that it makes.")
@click.option("--env", multiple=True, metavar="NAME",
              help="Environment variable that it depends on. May be repeated.")  # fmt: skip
@click.option("--key", default="", metavar="TEXT",
              help="Anything else that it depends on, such as a compiler's version: "
                   "tools are not looked at.")  # fmt: skip
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              help="The folder of the globs, where the command runs. [default: here]")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Say nothing but problems.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], quiet: bool, **task: Any) -> None:
    """Run COMMAND, unless the remote cache has what it would make.

    The cache is the one that turbo would use: TURBO_API, TURBO_TOKEN, TURBO_TEAM or TURBO_TEAMID,
    and TURBO_REMOTE_CACHE_SIGNATURE_KEY to sign what is stored. When it cannot be used, the command
    runs as if there were none. The exit code is the command's. Commands of one build that share
    a session set HITRATE_SESSION.

    \b
    hitrate exec --inputs 'src/**' --inputs Makefile --outputs dist -- make dist
    """
    logging.basicConfig(format="hitrate: %(message)s")
    try:
        done = cached(command, **task)
    except BadRequest as error:
        raise click.UsageError(str(error)) from error
    if done.problem or not quiet:
        _say(f"hitrate: {_told(done)}")
    sys.exit(done.exit_code)


def _say(text: str) -> None:
    # Straight to the descriptor: what cannot be told must not change the exit code, not even late.
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))


def _told(done: CachedRun[None]) -> str:
    name = f" [{done.hash[:12]}]" if done.hash else ""
    took = f"{done.duration_ms / 1000:.1f} s"
    files = f"{done.files} file{'' if done.files == 1 else 's'}, {format_size(done.size_bytes)}"
    if done.outcome is Outcome.HIT:
        parts = [f"restored from the cache ({files}); making it had taken {took}"]
    else:
        parts = ["not in the cache"] if done.outcome is Outcome.MISS else []
        ran = f"ran in {took}" if done.exit_code == 0 else f"failed ({done.exit_code}) after {took}"
        parts.append(f"{ran}, stored ({files})" if done.stored else ran)
    if done.problem:
        parts.append(done.problem)
    return "; ".join(parts) + name
