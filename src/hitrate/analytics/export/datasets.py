"""Datasets that can be exported: events, runs and artifacts, each as a sequence of chunks.

A chunk is one query over a range of ids. So no query is open for long, and none skips over the
rows before its range. The ranges are fixed at the start, so that an export ends however fast new
rows arrive.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import msgspec

from hitrate.analytics import queries
from hitrate.analytics.export.formats import Column, Format
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.reports import Reports
from hitrate.analytics.rows import Row, TokenRow
from hitrate.artifacts.catalog import ArtifactCatalog
from hitrate.auth.models import Token
from hitrate.events.schema import kind_names

Values = dict[str, Any]

CHUNK_ROWS = 50_000
ARTIFACT_CHUNK_ROWS = 10_000
"""Chunks of artifacts are smaller, because their rows pass through the Python interpreter."""

_BLOCKS_PER_CHUNK = 16

_CLIENT_COLUMNS = (
    Column("ci", "s.ci", "text"),
    Column("interactive", "s.interactive"),
    Column("agent", "s.agent", "text"),
    Column("tokenId", "s.token_id"),
)
_TOKEN_COLUMNS = (Column("tokenLabel", "k.label", "text"), Column("user", "k.email", "text"))

_JOIN_TOKENS = """
    LEFT JOIN (
        SELECT unnest($tokens::VARCHAR[]) AS id, unnest($labels::VARCHAR[]) AS label,
            unnest($emails::VARCHAR[]) AS email
    ) k ON k.id = s.token_id
"""

_CATALOG_COLUMNS = """{
    hash: 'VARCHAR', size_bytes: 'BIGINT', duration_ms: 'DOUBLE', sha: 'VARCHAR',
    dirty_hash: 'VARCHAR', ci: 'VARCHAR', interactive: 'BOOLEAN', agent: 'VARCHAR',
    token_id: 'VARCHAR', created_at_ms: 'BIGINT', used_at_ms: 'BIGINT', producer: 'VARCHAR'
}"""

_encoder = msgspec.json.Encoder()

DatasetName = Literal["events", "runs", "artifacts"]


class BlockRow(NamedTuple):
    """A block of ids: how many rows it has, and the last id among them."""

    block: int
    row_count: int
    last_id: int


class Chunk(NamedTuple):
    """The values that select one chunk, and how many chunks remain, this one included."""

    values: Values
    remaining: int


class Fetch(Protocol):
    """Runs a query whose columns are the fields of `row_type`, in order."""

    def __call__(self, row_type: type[Row], sql: str, values: Values, /) -> list[Row]: ...


class Dataset(Protocol):
    """Rows that can be exported, in chunks of about `chunk_rows` rows."""

    columns: ClassVar[tuple[Column, ...]]

    @property
    def chunk_rows(self) -> int: ...

    def query(self, file_format: Format, /) -> str:
        """Return the SQL for the rows of a chunk."""
        ...

    def chunks(self, fetch: Fetch, directory: Path, /) -> Iterator[Chunk]:
        """Yield all chunks in order, at least one; the last may be empty.

        A chunk may use a file in `directory`, which the next chunk overwrites.
        """
        ...


@dataclass(frozen=True, slots=True)
class EventDataset:
    """The events of the runs that began in the period and match the filters."""

    report_query: ReportQuery
    chunk_rows: int

    columns: ClassVar[tuple[Column, ...]] = (
        Column("id", "e.id"),
        Column("receivedAt", "e.received_at", "time"),
        Column("sessionId", "r.session_id", "text"),
        Column("source", "e.source"),
        Column("event", "e.event"),
        Column("hash", queries.hash_text("e"), "text"),
        Column("duration", "e.duration"),
        Column("artifactDuration", "e.made_ms"),
        *_CLIENT_COLUMNS,
    )

    def query(self, file_format: Format, /) -> str:
        return f"""
            SELECT {file_format.select(self.columns)}
            FROM (
                SELECT id, received_at, sender, run, hash, duration, made_ms, {kind_names("kind")}
                FROM events WHERE id > $after AND id <= $last
            ) e(id, received_at, sender, run, hash, duration, made_ms, source, event)
            JOIN (SELECT r.id, r.session_id {self.report_query.from_runs}) r ON r.id = e.run
            JOIN senders s ON s.id = e.sender
            {queries.join_names("e")}
            ORDER BY e.id
        """

    def chunks(self, fetch: Fetch, _directory: Path, /) -> Iterator[Chunk]:
        blocks = f"""
            SELECT id // $block AS block, count(*) AS row_count, max(id) AS last_id
            FROM events WHERE run IN (SELECT r.id {self.report_query.from_runs})
            GROUP BY block ORDER BY block
        """
        return _id_ranges(fetch, blocks, self.report_query.values, self.chunk_rows)


@dataclass(frozen=True, slots=True)
class RunDataset:
    """The runs that began in the period and match the filters."""

    report_query: ReportQuery
    chunk_rows: int
    reports: Reports

    columns: ClassVar[tuple[Column, ...]] = (
        Column("sessionId", "s.session_id", "text"),
        Column("startedAt", "s.started_at", "time"),
        Column("endedAt", "s.ended_at", "time"),
        Column("tasks", "s.tasks"),
        Column("localHits", "s.local_hits"),
        Column("remoteHits", "s.remote_hits"),
        Column("misses", "s.tasks - s.local_hits - s.remote_hits"),
        Column("hitRate", "(s.local_hits + s.remote_hits) / nullif(s.tasks, 0)"),
        Column("timeSavedLocalMs", "s.local_ms"),
        Column("timeSavedRemoteMs", "s.remote_ms"),
        Column("events", "s.events"),
        Column("duplicates", "s.repeats + s.resent"),
        Column("anomalies", "s.anomalies"),
        *_CLIENT_COLUMNS,
        *_TOKEN_COLUMNS,
    )

    def query(self, file_format: Format, /) -> str:
        return f"""
            SELECT {file_format.select(self.columns)}
            FROM (
                SELECT r.*, s.ci, s.interactive, s.agent, s.token_id
                {self.report_query.from_runs} AND r.id > $after AND r.id <= $last
            ) s
            {_JOIN_TOKENS} ORDER BY s.id
        """

    def chunks(self, fetch: Fetch, _directory: Path, /) -> Iterator[Chunk]:
        senders = fetch(TokenRow, queries.SENDING_TOKENS, {"team": self.report_query.team_id})
        tokens = _token_values(self.reports.find_tokens(sender.token_id for sender in senders))
        blocks = f"""
            SELECT r.id // $block AS block, count(*) AS row_count, max(r.id) AS last_id
            {self.report_query.from_runs} GROUP BY block ORDER BY block
        """
        return _id_ranges(fetch, blocks, self.report_query.values, self.chunk_rows, tokens)


@dataclass(frozen=True, slots=True)
class ArtifactDataset:
    """The stored artifacts with their hits in the period, ordered by hash.

    The catalog is not in the event store, so each chunk passes through a file of catalog entries.
    """

    report_query: ReportQuery
    chunk_rows: int
    reports: Reports
    catalog: ArtifactCatalog

    columns: ClassVar[tuple[Column, ...]] = (
        Column("hash", "s.hash", "text"),
        Column("sizeBytes", "s.size_bytes"),
        Column("durationMs", "s.duration_ms"),
        Column("createdAt", "s.created_at_ms", "time"),
        Column("lastUsedAt", "s.used_at_ms", "time"),
        Column("sha", "s.sha", "text"),
        Column("dirtyHash", "s.dirty_hash", "text"),
        Column(
            "dirty",
            "CASE WHEN s.sha IS NOT NULL OR s.dirty_hash <> '' "
            "THEN coalesce(s.dirty_hash, '') <> '' END",
        ),
        Column("producedBy", "s.producer", "text"),
        Column("localHits", "coalesce(h.local_hits, 0)"),
        Column("remoteHits", "coalesce(h.remote_hits, 0)"),
        Column("timeSavedMs", "coalesce(h.saved_ms, 0)"),
        *_CLIENT_COLUMNS,
        *_TOKEN_COLUMNS,
    )

    def query(self, file_format: Format, /) -> str:
        return f"""
            SELECT {file_format.select(self.columns)}
            FROM read_ndjson($file, columns = {_CATALOG_COLUMNS}) s
            LEFT JOIN ({queries.HITS}) h ON h.hash = s.hash
            {_JOIN_TOKENS} ORDER BY s.hash
        """

    def chunks(self, _fetch: Fetch, directory: Path, /) -> Iterator[Chunk]:
        team_id, file = self.report_query.team_id, directory / "catalog.ndjson"
        remaining = self.reports.stored(team_id).artifacts // self.chunk_rows + 1
        last_hash = ""
        while True:
            entries = self.catalog.list_after(team_id, last_hash, self.chunk_rows)
            file.write_bytes(_encoder.encode_lines(entry._asdict() for entry in entries))
            tokens = self.reports.find_tokens(entry.token_id for entry in entries)
            values = {
                **self.report_query.period_values,
                **_token_values(tokens),
                "file": str(file),
                "names": [entry.hash for entry in entries],
            }
            yield Chunk(values, max(remaining, 1))
            if len(entries) < self.chunk_rows:
                return
            remaining, last_hash = remaining - 1, entries[-1].hash


@dataclass(frozen=True, slots=True)
class DatasetFactory:
    """Creates datasets with chunks of at most about `chunk_rows` rows."""

    reports: Reports
    catalog: ArtifactCatalog
    chunk_rows: int = CHUNK_ROWS

    def create(self, name: DatasetName, query: ReportQuery) -> Dataset:
        """Create a dataset by its name in the API."""
        if name == "events":
            return EventDataset(query, self.chunk_rows)
        if name == "runs":
            return RunDataset(query, self.chunk_rows, self.reports)
        chunk_rows = min(self.chunk_rows, ARTIFACT_CHUNK_ROWS)
        return ArtifactDataset(query, chunk_rows, self.reports, self.catalog)


def _token_values(tokens: Mapping[str, Token]) -> Values:
    """Return the values of the parameters in `_JOIN_TOKENS`."""
    return {
        "tokens": list(tokens),
        "labels": [token.label for token in tokens.values()],
        "emails": [token.user.email if token.user else None for token in tokens.values()],
    }


def _id_ranges(
    fetch: Fetch, blocks_sql: str, values: Values, chunk_rows: int, tokens: Values | None = None
) -> Iterator[Chunk]:
    """Yield ranges of ids with about `chunk_rows` rows each.

    Ids may have gaps, so the ranges are put together from the row counts of narrow blocks.
    """
    block_width = max(chunk_rows // _BLOCKS_PER_CHUNK, 1)
    blocks = fetch(BlockRow, blocks_sql, {**values, "block": block_width})
    range_ends, range_rows = [0], chunk_rows
    for block in blocks:
        if range_rows >= chunk_rows:
            range_ends.append(block.last_id)
            range_rows = 0
        range_ends[-1] = block.last_id
        range_rows += block.row_count
    ranges = list(pairwise(range_ends)) or [(0, 0)]
    for number, (after, last) in enumerate(ranges):
        chunk_values = {**values, **(tokens or {}), "after": after, "last": last}
        yield Chunk(chunk_values, len(ranges) - number)
