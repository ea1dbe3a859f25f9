"""`hitrate export`: write events, runs or artifacts to a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from hitrate.cli.options import filter_options, since_option, target_options, until_option
from hitrate.cli.output import CommandError
from hitrate.cli.remote import ServerTarget
from hitrate.units import format_size

_FORMATS = ("ndjson", "csv", "parquet")


@click.command()
@click.argument("dataset", type=click.Choice(["events", "runs", "artifacts"]))
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_FORMATS),
    help="Output format. [default: from the extension of FILE, else ndjson]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="Output file, which appears when it is complete. [default: standard output]",
)
@since_option(None, "everything")
@until_option
@filter_options
@target_options
def export(
    target: ServerTarget,
    dataset: str,
    output_format: str | None,
    output: Path | None,
    since: str | None,
    until: str | None,
    filters: dict[str, str | None],
) -> None:
    """Export events, runs or artifacts as NDJSON, CSV or Parquet.

    \b
    hitrate export events --since 90d -o events.parquet
    """
    if dataset == "artifacts" and (used := [name for name, text in filters.items() if text]):
        raise click.UsageError(f"An artifact does not belong to one run: remove --{used[0]}.")
    extension = output.suffix.lower().removeprefix(".") if output else ""
    output_format = output_format or (extension if extension in _FORMATS else "ndjson")
    query = {"format": output_format, "since": since, "until": until, **filters}
    size_bytes = 0
    with target.open() as api, _open_output(output, binary=output_format == "parquet") as file:
        with api.stream(f"/v1/export/{dataset}", output_format, query) as download:
            for chunk in download:
                file.write(chunk)
                size_bytes += len(chunk)
        file.flush()
    if output is not None:
        click.echo(f"{output}: {format_size(size_bytes)}", err=True)


@contextmanager
def _open_output(output: Path | None, *, binary: bool) -> Iterator[IO[bytes]]:
    """Open the output; a file appears when the block succeeds. Raises CommandError."""
    if output is None or str(output) == "-":
        if binary and sys.stdout.isatty():
            raise click.UsageError("Parquet is binary: write it to a file with -o.")
        yield sys.stdout.buffer
        return
    from hitrate.client.low_level import atomic_write

    try:
        if output.exists() and not output.is_file():  # a pipe, or /dev/null
            with output.open("wb") as file:
                if binary and file.isatty():
                    raise click.UsageError("Parquet is binary: write it to a file with -o.")
                yield file
        else:
            with atomic_write(output) as file:
                yield file
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror or error}.") from error
