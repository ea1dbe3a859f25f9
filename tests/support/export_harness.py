"""Exports without a server, and their files read back by a reader of their format."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from hitrate.analytics.export.datasets import Artifacts, Events, Runs, Tables
from hitrate.analytics.export.formats import FORMS
from hitrate.analytics.export.jobs import ExportManager
from hitrate.analytics.filters import ReportQuery
from hitrate.clock import iso
from tests.support.analytics_fixture import AnalyticsFixture, EventStoreFixture

Rows = list[dict[str, Any]]

COLUMNS = {
    "events": [column.name for column in Events.columns],
    "runs": [column.name for column in Runs.columns],
    "artifacts": [column.name for column in Artifacts.columns],
}

_NUMBERS = {
    "id", "duration", "artifactDuration", "tasks", "localHits", "remoteHits", "misses", "hitRate",
    "timeSavedLocalMs", "timeSavedRemoteMs", "timeSavedMs", "events", "duplicates", "anomalies",
    "sizeBytes", "durationMs",
}  # fmt: skip
_TRUTHS = {"interactive": {"true": True, "false": False}, "dirty": {"true": True, "false": False}}


class ExportHarness:
    """ExportManager of a event_store, in parts of a few rows."""

    def __init__(
        self,
        analytics: AnalyticsFixture,
        event_store: EventStoreFixture,
        rows: int,
        min_free_bytes: int = 0,
    ) -> None:
        self.folder = event_store.folder / "exports"
        self.exports = ExportManager(event_store.duckdb, self.folder, min_free_bytes)
        self.tables = Tables(event_store.reports, analytics.catalog, rows)

    def files(self, what: str, form: str, scope: ReportQuery) -> Iterator[bytes]:
        """What the files of an export hold, one after another."""
        table = self.tables.named(what, scope)
        export = self.exports.begin(scope.team_id, table, FORMS[form])
        try:
            yield FORMS[form].head(table.columns)
            while (file := self.exports.next_file(export).result()) is not None:
                yield file.read()
        finally:
            self.exports.end(export)

    def whole(self, what: str, form: str, scope: ReportQuery) -> bytes:
        """What a client gets."""
        return b"".join(self.files(what, form, scope))

    def rows(self, what: str, form: str, scope: ReportQuery) -> Rows:
        """The same, read back."""
        return READ[form](self.whole(what, form, scope))

    def files_begun(self) -> int:
        """How many files stand in the folder: a query makes its own when it begins."""
        return sum(path.is_file() for path in self.leftovers())

    def leftovers(self) -> list[Path]:
        """What stands in the folder."""
        return list(self.folder.rglob("*"))


@contextmanager
def export_harness(
    analytics: AnalyticsFixture,
    event_store: EventStoreFixture,
    rows: int = 3,
    min_free_bytes: int = 0,
) -> Iterator[ExportHarness]:
    """An open one."""
    export_harness = ExportHarness(analytics, event_store, rows, min_free_bytes)
    export_harness.exports.open()
    try:
        yield export_harness
    finally:
        export_harness.exports.close()


def read_ndjson(content: bytes) -> Rows:
    """A line of JSON each."""
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def read_csv(content: bytes) -> Rows:
    """By the standard library; what csv cannot tell is told by the column. An empty text and none
    look the same to it."""
    assert content.endswith(b"\r\n")
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
    return [{name: _told(name, text) for name, text in row.items()} for row in rows]


def _told(name: str, text: str) -> Any:
    if text == "":
        return None
    if name in _TRUTHS:
        return _TRUTHS[name][text]
    return json.loads(text) if name in _NUMBERS else text


def read_parquet(content: bytes) -> Rows:
    """By DuckDB; its moments as text, as the other formats have them."""
    with tempfile.NamedTemporaryFile() as file, duckdb.connect() as connection:
        file.write(content)
        file.flush()
        table = connection.execute("FROM read_parquet(?)", [file.name])
        names = [name for name, *_ in table.description or ()]
        rows = table.fetchall()
    return [{name: _shown(value) for name, value in zip(names, row, strict=True)} for row in rows]


def parquet_types(content: bytes) -> dict[str, str]:
    """The columns, and what DuckDB takes them for."""
    with tempfile.NamedTemporaryFile() as file, duckdb.connect() as connection:
        file.write(content)
        file.flush()
        rows = connection.execute("DESCRIBE FROM read_parquet(?)", [file.name]).fetchall()
    return {name: kind for name, kind, *_ in rows}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(round(value.replace(tzinfo=UTC).timestamp() * 1000))
    return value


READ: dict[str, Callable[[bytes], Rows]] = {
    "ndjson": read_ndjson,
    "csv": read_csv,
    "parquet": read_parquet,
}
