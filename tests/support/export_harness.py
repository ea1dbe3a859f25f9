"""Exports without a server, and readers of each export format."""

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

from hitrate.analytics.export.datasets import (
    ArtifactDataset,
    DatasetFactory,
    DatasetName,
    EventDataset,
    RunDataset,
)
from hitrate.analytics.export.formats import FORMATS
from hitrate.analytics.export.jobs import ExportManager
from hitrate.analytics.filters import ReportQuery
from hitrate.clock import iso
from tests.support.analytics_fixture import AnalyticsFixture, EventStoreFixture

Rows = list[dict[str, Any]]

COLUMNS: dict[DatasetName, list[str]] = {
    "events": [column.name for column in EventDataset.columns],
    "runs": [column.name for column in RunDataset.columns],
    "artifacts": [column.name for column in ArtifactDataset.columns],
}
"""Column names by dataset."""

_NUMBERS = {
    "id", "duration", "artifactDuration", "tasks", "localHits", "remoteHits", "misses", "hitRate",
    "timeSavedLocalMs", "timeSavedRemoteMs", "timeSavedMs", "events", "duplicates", "anomalies",
    "sizeBytes", "durationMs",
}  # fmt: skip
_BOOLEANS = {"interactive", "dirty"}


class ExportHarness:
    """An ExportManager on an event store, with chunks of a few rows."""

    def __init__(
        self,
        analytics: AnalyticsFixture,
        event_store: EventStoreFixture,
        chunk_rows: int,
        min_free_bytes: int = 0,
    ) -> None:
        self.directory = event_store.directory / "exports"
        self.manager = ExportManager(event_store.duckdb, self.directory, min_free_bytes)
        self.datasets = DatasetFactory(event_store.reports, analytics.catalog, chunk_rows)

    def files(self, name: DatasetName, format_name: str, query: ReportQuery) -> Iterator[bytes]:
        """Yield the header of an export, then the content of each file."""
        dataset = self.datasets.create(name, query)
        job = self.manager.start(query.team_id, dataset, FORMATS[format_name])
        try:
            yield FORMATS[format_name].header_bytes(dataset.columns)
            while (file := job.next_file().result()) is not None:
                yield file.read()
        finally:
            job.close()

    def content(self, name: DatasetName, format_name: str, query: ReportQuery) -> bytes:
        """Return the whole exported file."""
        return b"".join(self.files(name, format_name, query))

    def rows(self, name: DatasetName, format_name: str, query: ReportQuery) -> Rows:
        """Return the rows of the exported file."""
        return READERS[format_name](self.content(name, format_name, query))

    def count_files(self) -> int:
        """Count the files in the export directory; a query creates its file when it starts."""
        return sum(path.is_file() for path in self.leftovers())

    def leftovers(self) -> list[Path]:
        """Return everything in the export directory."""
        return list(self.directory.rglob("*"))


@contextmanager
def export_harness(
    analytics: AnalyticsFixture,
    event_store: EventStoreFixture,
    chunk_rows: int = 3,
    min_free_bytes: int = 0,
) -> Iterator[ExportHarness]:
    """Open an ExportHarness for the length of a `with` block."""
    harness = ExportHarness(analytics, event_store, chunk_rows, min_free_bytes)
    harness.manager.open()
    try:
        yield harness
    finally:
        harness.manager.close()


def read_ndjson(content: bytes) -> Rows:
    """Read NDJSON: one JSON object for each line."""
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def read_csv(content: bytes) -> Rows:
    """Read CSV with the standard library, and convert values by their column.

    An empty text reads as None, because CSV cannot tell them apart.
    """
    assert content.endswith(b"\r\n")
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
    return [{name: _csv_value(name, text) for name, text in row.items()} for row in rows]


def _csv_value(column: str, text: str) -> Any:
    if text == "":
        return None
    return json.loads(text) if column in _NUMBERS | _BOOLEANS else text


def read_parquet(content: bytes) -> Rows:
    """Read Parquet with DuckDB; timestamps become text, as in the other formats."""
    with tempfile.NamedTemporaryFile() as file, duckdb.connect() as connection:
        file.write(content)
        file.flush()
        table = connection.execute("FROM read_parquet(?)", [file.name])
        names = [name for name, *_ in table.description or ()]
        rows = table.fetchall()
    return [
        {name: _iso_time(value) for name, value in zip(names, row, strict=True)} for row in rows
    ]


def parquet_types(content: bytes) -> dict[str, str]:
    """Return the DuckDB type of each column of a Parquet file."""
    with tempfile.NamedTemporaryFile() as file, duckdb.connect() as connection:
        file.write(content)
        file.flush()
        rows = connection.execute("DESCRIBE FROM read_parquet(?)", [file.name]).fetchall()
    return {name: column_type for name, column_type, *_ in rows}


def _iso_time(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(round(value.replace(tzinfo=UTC).timestamp() * 1000))
    return value


READERS: dict[str, Callable[[bytes], Rows]] = {
    "ndjson": read_ndjson,
    "csv": read_csv,
    "parquet": read_parquet,
}
"""Functions that read an export, by format."""
