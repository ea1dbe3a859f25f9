"""`hitrate exec`: run a command of any build tool, or restore its outputs from the cache."""

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
@_globs("--inputs", "Files that the command reads; '!GLOB' excludes. Quote globs.", required=True)
@_globs("--outputs", "Files and directories that the command creates.")
@click.option("--env", multiple=True, metavar="NAME",
              help="Environment variable that the outputs depend on. May be repeated.")  # fmt: skip
@click.option("--key", default="", metavar="TEXT",
              help="Anything else that the outputs depend on, such as the version of a "
                   "compiler. Tools are not inspected.")  # fmt: skip
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              help="Directory of the globs, in which the command runs. [default: the current "
                   "directory]")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print problems only.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], quiet: bool, **task: Any) -> None:
    """Restore the outputs of COMMAND from the remote cache, or run it and store them.

    The cache is the one that turbo uses: TURBO_API, TURBO_TOKEN, TURBO_TEAM or TURBO_TEAMID, and
    TURBO_REMOTE_CACHE_SIGNATURE_KEY to sign artifacts. If it cannot be used, COMMAND runs without
    it. The exit code is that of COMMAND. Set HITRATE_SESSION to combine several commands into one
    run.

    \b
    hitrate exec --inputs 'src/**' --inputs Makefile --outputs dist -- make dist
    """
    logging.basicConfig(format="hitrate: %(message)s")
    try:
        result = cached(command, **task)
    except BadRequest as error:
        raise click.UsageError(str(error)) from error
    if result.problem or not quiet:
        _write_stderr(f"hitrate: {_describe(result)}")
    sys.exit(result.exit_code)


def _write_stderr(text: str) -> None:
    # Unbuffered, so that a failure to write cannot change the exit code, not even at exit.
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))


def _describe(result: CachedRun[None]) -> str:
    name = f" [{result.hash[:12]}]" if result.hash else ""
    duration = f"{result.duration_ms / 1000:.1f} s"
    files = (
        f"{result.files} file{'' if result.files == 1 else 's'}, {format_size(result.size_bytes)}"
    )
    if result.outcome is Outcome.HIT:
        parts = [f"restored from the cache ({files}), saved {duration}"]
    else:
        parts = ["not in the cache"] if result.outcome is Outcome.MISS else []
        if result.exit_code == 0:
            run = f"ran in {duration}"
        else:
            run = f"failed ({result.exit_code}) after {duration}"
        parts.append(f"{run}, stored ({files})" if result.stored else run)
    if result.problem:
        parts.append(result.problem)
    return "; ".join(parts) + name
