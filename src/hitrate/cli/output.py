"""Output of commands: JSON, tables, text and error messages."""

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import IO, Any, Literal

import click
import msgspec

from hitrate.units import format_percent


class CommandError(click.ClickException):
    """Failure of a command: one line on standard error and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"hitrate: {escape_control(self.message)}", file=file, err=file is None)


def print_json(value: Any) -> None:
    """Print a value as one indented JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_text(text: str) -> None:
    """Print text, in color only on a terminal and unless NO_COLOR is set."""
    no_color = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    click.echo(_encodable(text), color=False if no_color else None)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Collection[str] = ()
) -> None:
    """Print a table, as plain text unless on a terminal; the columns `numbers` align right.

    Booleans are printed as `on` and `off`, None as an empty cell.
    """
    cells = [[escape_control(_cell_text(cell)) for cell in row] for row in rows]
    right = [column in numbers for column in columns]
    if not (sys.stdout.isatty() and _print_rich(columns, cells, right)):
        print_text("\n".join(plain_table(columns, cells, right)))


def _cell_text(cell: object) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "on" if cell else "off"
        case _:
            return str(cell)


def plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> list[str]:
    """Return the lines of a table of plain text. No value is truncated or wrapped."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]


def _print_rich(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> bool:
    """Print a table that fits the terminal. Return False if the library rich is missing."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ModuleNotFoundError:
        return False
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, to_right in zip(columns, right, strict=True):
        justify: Literal["right", "left"] = "right" if to_right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=to_right)
    for row in rows:
        table.add_row(*map(_encodable, row))
    # Values must not be taken for markup.
    Console(highlight=False, markup=False, emoji=False).print(table)
    return True


def escape_control(text: str) -> str:
    """Escape unprintable characters, so that text cannot control the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def can_encode(text: str) -> bool:
    """Return whether standard output can encode the text."""
    return _encodable(text) == text


def _encodable(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def rate_text(rate: float | None) -> str:
    """Return `72.4 %` for 0.7239, or a dash for None."""
    return "-" if rate is None else format_percent(rate)
