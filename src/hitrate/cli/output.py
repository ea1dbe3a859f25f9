"""How commands show data."""

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output; plain where it is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else plain(str(cell)) for cell in row))
    # Whoever reads a pipe or a file wants every value whole; and no value is markup of ours.
    width = None if sys.stdout.isatty() else 240
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    console.print(table)


def plain(text: str) -> str:
    """Without what would steer a terminal: `\\x1b` for an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def size_text(size_bytes: float) -> str:
    """`1.5 MB` for 1500000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
