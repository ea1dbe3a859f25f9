"""File formats of exports, and the SQL with which each writes a column. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hitrate.csv_safety import escape_formula_sql

_NEW_LINE = "\r\n"

ColumnKind = Literal["time", "text", "other"]


class Column(NamedTuple):
    """A column: its name, the SQL of its value, and its kind.

    A `time` is in UTC milliseconds; a `text` may hold anything that a client or a user entered.
    """

    name: str
    sql: str
    kind: ColumnKind = "other"


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    `copy_options` are the options of DuckDB's COPY, and `column_sql` maps a column kind to a
    template for its SQL. `row_bytes` is the estimated size of a row. A `single_file` format cannot
    be concatenated from chunks.
    """

    media_type: str
    copy_options: str
    row_bytes: int
    column_sql: Mapping[ColumnKind, str]
    has_header: bool = False
    single_file: bool = False

    def select(self, columns: Iterable[Column]) -> str:
        """Return the SELECT list that writes the columns in this format."""
        return ", ".join(
            f'{self.column_sql.get(column.kind, "{0}").format(column.sql)} AS "{column.name}"'
            for column in columns
        )

    def header_bytes(self, columns: Iterable[Column]) -> bytes:
        """Return the bytes before the first row: the header of a CSV file, or nothing."""
        names = ",".join(column.name for column in columns)
        return f"{names}{_NEW_LINE}".encode() if self.has_header else b""


_ISO_TIME = "strftime(epoch_ms({0}), '%Y-%m-%dT%H:%M:%S.%gZ')"

FORMATS = {
    "ndjson": Format("application/x-ndjson", "FORMAT json", 400, {"time": _ISO_TIME}),
    "csv": Format(
        "text/csv",
        f"FORMAT csv, HEADER false, NEW_LINE '{_NEW_LINE}'",
        200,
        {"time": _ISO_TIME, "text": escape_formula_sql("{0}")},
        has_header=True,
    ),
    "parquet": Format(
        "application/vnd.apache.parquet",
        "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 61440",
        40,
        {"time": "epoch_ms({0})"},
        single_file=True,
    ),
}
"""Formats by their name in the API."""
