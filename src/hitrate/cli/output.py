"""How commands show data."""

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import IO, Any, Literal

import click
import msgspec


class Failed(click.ClickException):
    """Ends a command with one line on standard error and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"hitrate: {plain(self.message)}", file=file, err=file is None)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_text(text: str) -> None:
    """On standard output; in colours only where it is a terminal, and NO_COLOR is not set."""
    colourless = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    click.echo(_writable(text), color=False if colourless else None)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Collection[str] = ()
) -> None:
    """A table on standard output, plain where it is no terminal; columns of `numbers` end at the
    right."""
    cells = [["" if cell is None else plain(str(cell)) for cell in row] for row in rows]
    right = [column in numbers for column in columns]
    if not (sys.stdout.isatty() and _print_rich(columns, cells, right)):
        print_text("\n".join(plain_table(columns, cells, right)))


def plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> list[str]:
    """The lines of a table, with every value whole."""
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
    """A table that fits the terminal; False where the library is not, which the server brings."""
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
        table.add_row(*map(_writable, row))
    # No value is markup of ours.
    Console(highlight=False, markup=False, emoji=False).print(table)
    return True


def plain(text: str) -> str:
    """Without what would steer a terminal: `\\x1b` for an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def can_show(text: str) -> bool:
    """Whether standard output has these characters."""
    return _writable(text) == text


def _writable(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def size_text(size_bytes: float) -> str:
    """`1.5 MB` for 1500000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < (1000 if unit == "B" else 999.95):
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def span_text(span_ms: float) -> str:
    """`350ms`, `12.4s`, `12m34s`, `3h05m`, `2d04h`."""
    if span_ms < 999.5:
        return f"{span_ms:.0f}ms" if span_ms else "0s"
    if span_ms < 59_950:
        return f"{span_ms / 1000:.1f}s"
    minutes, seconds = divmod(round(span_ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{seconds:02d}s"
    days, hours = divmod(hours, 24)
    return f"{days:,}d{hours:02d}h" if days else f"{hours}h{minutes:02d}m"


def rate_text(rate: float | None) -> str:
    """`72.4 %` for 0.7239; a dash for none."""
    return "-" if rate is None else f"{rate * 100:.1f} %"
