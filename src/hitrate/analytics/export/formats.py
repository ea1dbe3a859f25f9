"""The formats of exports, and how each writes a column. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hitrate.csv_safety import escape_formula_sql

TIME, TEXT = "time", "text"

_ISO = "strftime(epoch_ms({0}), '%Y-%m-%dT%H:%M:%S.%gZ')"
_NEW_LINE = "\r\n"


class Column(NamedTuple):
    """Its name, the SQL of its value, and its kind: TIME in ms, TEXT that people write, or
    neither."""

    name: str
    sql: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A format. `row_bytes` is about what a row takes; one that is `whole` is a file that cannot
    be put together by sending one part after the other."""

    media_type: str
    options: str
    row_bytes: int
    kinds: Mapping[str, str]
    header: bool = False
    whole: bool = False

    def select(self, columns: Iterable[Column]) -> str:
        """The columns as this format writes them, as SQL."""
        return ", ".join(
            f'{self.kinds.get(column.kind, "{0}").format(column.sql)} AS "{column.name}"'
            for column in columns
        )

    def head(self, columns: Iterable[Column]) -> bytes:
        """What stands before all rows."""
        names = ",".join(column.name for column in columns)
        return f"{names}{_NEW_LINE}".encode() if self.header else b""


FORMS = {
    "ndjson": Form("application/x-ndjson", "FORMAT json", 400, {TIME: _ISO}),
    "csv": Form(
        "text/csv",
        f"FORMAT csv, HEADER false, NEW_LINE '{_NEW_LINE}'",
        200,
        {TIME: _ISO, TEXT: escape_formula_sql("{0}")},
        header=True,
    ),
    "parquet": Form(
        "application/vnd.apache.parquet",
        "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 61440",
        40,
        {TIME: "epoch_ms({0})"},
        whole=True,
    ),
}
