"""`hitrate export`: events, runs or artifacts as a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from hitrate.cli.options import filter_options, place_options, since_option, until_option
from hitrate.cli.output import Failed, size_text
from hitrate.cli.remote import Place

_FORMATS = ("ndjson", "csv", "parquet")


@click.command()
@click.argument("what", type=click.Choice(["events", "runs", "artifacts"]))
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="Of the output. [default: by the ending of FILE, else ndjson]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="Where to; it is there when it is whole. [default: standard output]",
)
@since_option(None, "everything")
@until_option
@filter_options
@place_options
def export(
    place: Place,
    what: str,
    form: str | None,
    output: Path | None,
    since: str | None,
    until: str | None,
    filters: dict[str, str | None],
) -> None:
    """Write events, runs or artifacts, as NDJSON, CSV or Parquet.

    \b
    hitrate export events --since 90d -o events.parquet
    """
    if what == "artifacts" and (given := [name for name, text in filters.items() if text]):
        raise click.UsageError(f"Artifacts are of all runs: leave out --{given[0]}.")
    ending = output.suffix.lower().removeprefix(".") if output else ""
    form = form or (ending if ending in _FORMATS else "ndjson")
    query = {"format": form, "since": since, "until": until, **filters}
    size_bytes = 0
    with place.open() as api, _sink(output, binary=form == "parquet") as file:
        with api.stream(f"/v1/export/{what}", form, query) as download:
            for chunk in download:
                file.write(chunk)
                size_bytes += len(chunk)
        file.flush()
    if output is not None:
        click.echo(f"{output}: {size_text(size_bytes)}", err=True)


@contextmanager
def _sink(output: Path | None, *, binary: bool) -> Iterator[IO[bytes]]:
    """Where to write. A file takes its place when the block has ended well. Raises Failed."""
    if output is None or str(output) == "-":
        if binary and sys.stdout.isatty():
            raise click.UsageError("Parquet is not for a terminal: name a file with -o.")
        yield sys.stdout.buffer
        return
    from hitrate.client._content import atomic_write

    try:
        if output.exists() and not output.is_file():  # a pipe, or /dev/null
            with output.open("wb") as file:
                if binary and file.isatty():
                    raise click.UsageError("Parquet is not for a terminal: name a file with -o.")
                yield file
        else:
            with atomic_write(output) as whole:
                yield whole
    except OSError as error:
        raise Failed(f"{output} cannot be written: {error.strerror or error}.") from error
