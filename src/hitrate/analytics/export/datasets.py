"""What can be exported: the columns of events, runs and artifacts, and the parts they are made in.

A part has about so many rows, and is a query of its own by a range of ids: none is open for long,
and none has to count past what came before. The ranges are laid down at the start, so that an
export ends however fast new rows come.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from hitrate.analytics import queries
from hitrate.analytics.export.formats import TEXT, TIME, Column, Form
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.reports import Reports
from hitrate.analytics.rows import Row
from hitrate.artifacts.catalog import ArtifactCatalog
from hitrate.auth.models import Token
from hitrate.events.schema import kind_names

Values = dict[str, Any]
Ask = Callable[[str, Values], list[Row]]
"""What a query answers."""

PART_ROWS = 50_000
ARTIFACT_PART_ROWS = 10_000
"""Fewer, because they pass through the interpreter."""

_BLOCKS_A_PART = 16

_SENDER = (
    Column("ci", "s.ci", TEXT),
    Column("interactive", "s.interactive"),
    Column("agent", "s.agent", TEXT),
    Column("tokenId", "s.token_id"),
)
_PERSON = (Column("tokenLabel", "k.label", TEXT), Column("user", "k.email", TEXT))

_KNOWN = """
LEFT JOIN (SELECT unnest($tokens::VARCHAR[]) AS id, unnest($labels::VARCHAR[]) AS label,
                  unnest($emails::VARCHAR[]) AS email) k ON k.id = s.token_id
"""

_LISTED = """{
    hash: 'VARCHAR', size_bytes: 'BIGINT', duration_ms: 'DOUBLE', sha: 'VARCHAR',
    dirty_hash: 'VARCHAR', ci: 'VARCHAR', interactive: 'BOOLEAN', agent: 'VARCHAR',
    token_id: 'VARCHAR', created_at_ms: 'BIGINT', used_at_ms: 'BIGINT', producer: 'VARCHAR'
}"""

_encoder = msgspec.json.Encoder()


class Part(NamedTuple):
    """What to bind in a table's query for some of its rows. `left`: parts from this one on."""

    values: Values
    left: int


class Table(Protocol):
    """What can be exported. `parts` yields one at least, if need be without rows; what it puts in
    the folder is read before the next is asked for."""

    columns: ClassVar[tuple[Column, ...]]

    @property
    def rows(self) -> int:
        """About how many a part has."""
        ...

    def query(self, form: Form, /) -> str:
        """The rows of a part."""
        ...

    def parts(self, ask: Ask, folder: Path, /) -> Iterator[Part]:
        """All parts, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Events:
    """The events of the runs that began in the period and match the filters."""

    scope: ReportQuery
    rows: int

    columns: ClassVar[tuple[Column, ...]] = (
        Column("id", "e.id"),
        Column("receivedAt", "e.received_at", TIME),
        Column("sessionId", "r.session_id", TEXT),
        Column("source", "e.source"),
        Column("event", "e.event"),
        Column("hash", queries.NAME.format("e"), TEXT),
        Column("duration", "e.duration"),
        Column("artifactDuration", "e.made_ms"),
        *_SENDER,
    )

    def query(self, form: Form, /) -> str:
        runs, _ = self.scope.runs()
        return f"""
        SELECT {form.select(self.columns)}
        FROM (
            SELECT id, received_at, sender, run, hash, duration, made_ms, {kind_names("kind")}
            FROM events WHERE id > $after AND id <= $last
        ) e(id, received_at, sender, run, hash, duration, made_ms, source, event)
        JOIN (SELECT r.id, r.session_id {runs}) r ON r.id = e.run
        JOIN senders s ON s.id = e.sender
        LEFT JOIN names n ON n.team_id = $team AND n.hash = e.hash
        ORDER BY e.id
        """

    def parts(self, ask: Ask, _folder: Path, /) -> Iterator[Part]:
        runs, values = self.scope.runs()
        counted = f"""
        SELECT id // $block AS block, count(*), max(id) FROM events
        WHERE run IN (SELECT r.id {runs})
        """
        return _ranges(ask, counted, values, self.rows)


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs themselves."""

    scope: ReportQuery
    rows: int
    reports: Reports

    columns: ClassVar[tuple[Column, ...]] = (
        Column("sessionId", "s.session_id", TEXT),
        Column("startedAt", "s.started_at", TIME),
        Column("endedAt", "s.ended_at", TIME),
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
        *_SENDER,
        *_PERSON,
    )

    def query(self, form: Form, /) -> str:
        runs, _ = self.scope.runs()
        return f"""
        SELECT {form.select(self.columns)}
        FROM (SELECT r.*, s.ci, s.interactive, s.agent, s.token_id {runs}
              AND r.id > $after AND r.id <= $last) s
        {_KNOWN} ORDER BY s.id
        """

    def parts(self, ask: Ask, _folder: Path, /) -> Iterator[Part]:
        runs, values = self.scope.runs()
        senders = ask(queries.SENDING_TOKENS, {"team": self.scope.team_id})
        known = _known(self.reports.tokens(token_id for (token_id,) in senders))
        counted = f"SELECT r.id // $block AS block, count(*), max(r.id) {runs}"
        return _ranges(ask, counted, values, self.rows, known)


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The artifacts that are stored, with their hits in the period; by their hashes. They stand in
    the database, and come from there by way of files of raw rows."""

    scope: ReportQuery
    rows: int
    reports: Reports
    listing: ArtifactCatalog

    columns: ClassVar[tuple[Column, ...]] = (
        Column("hash", "s.hash", TEXT),
        Column("sizeBytes", "s.size_bytes"),
        Column("durationMs", "s.duration_ms"),
        Column("createdAt", "s.created_at_ms", TIME),
        Column("lastUsedAt", "s.used_at_ms", TIME),
        Column("sha", "s.sha", TEXT),
        Column("dirtyHash", "s.dirty_hash", TEXT),
        Column(
            "dirty",
            "CASE WHEN s.sha IS NOT NULL OR s.dirty_hash <> '' "
            "THEN coalesce(s.dirty_hash, '') <> '' END",
        ),
        Column("producedBy", "s.producer", TEXT),
        Column("localHits", "coalesce(h.local_hits, 0)"),
        Column("remoteHits", "coalesce(h.remote_hits, 0)"),
        Column("timeSavedMs", "coalesce(h.saved_ms, 0)"),
        *_SENDER,
        *_PERSON,
    )

    def query(self, form: Form, /) -> str:
        return f"""
        SELECT {form.select(self.columns)}
        FROM read_ndjson($file, columns = {_LISTED}) s
        LEFT JOIN ({queries.HITS}) h(hash, local_hits, remote_hits, saved_ms) ON h.hash = s.hash
        {_KNOWN} ORDER BY s.hash
        """

    def parts(self, _ask: Ask, folder: Path, /) -> Iterator[Part]:
        span, file = self.scope.period, folder / "listed.ndjson"
        values = {"team": self.scope.team_id, "from_ms": span.from_ms, "to_ms": span.to_ms}
        left, last = self.reports.stored(self.scope.team_id).artifacts // self.rows + 1, ""
        while True:
            page = self.listing.list_after(self.scope.team_id, last, self.rows)
            file.write_bytes(_encoder.encode_lines(one._asdict() for one in page))
            listed = {"file": str(file), "names": [one.hash for one in page]}
            known = _known(self.reports.tokens(one.token_id for one in page))
            yield Part({**values, **listed, **known}, max(left, 1))
            if len(page) < self.rows:
                return
            left, last = left - 1, page[-1].hash


@dataclass(frozen=True, slots=True)
class Tables:
    """Makes them; `rows` is about how many a part has."""

    reports: Reports
    listing: ArtifactCatalog
    rows: int = PART_ROWS

    def named(self, name: str, scope: ReportQuery) -> Table:
        """The events, runs or artifacts of a scope."""
        if name == "events":
            return Events(scope, self.rows)
        if name == "runs":
            return Runs(scope, self.rows, self.reports)
        rows = min(self.rows, ARTIFACT_PART_ROWS)
        return Artifacts(scope, rows, self.reports, self.listing)


def _known(tokens: Mapping[str, Token]) -> Values:
    return {
        "tokens": list(tokens),
        "labels": [token.label for token in tokens.values()],
        "emails": [token.user.email if token.user else None for token in tokens.values()],
    }


def _ranges(
    ask: Ask, counted: str, values: Values, rows: int, known: Values | None = None
) -> Iterator[Part]:
    """Ranges of ids with about so many rows each, from counts of the rows of narrow blocks."""
    blocks = ask(
        f"{counted} GROUP BY block ORDER BY block",
        {**values, "block": max(rows // _BLOCKS_A_PART, 1)},
    )
    ends, gathered = [0], rows
    for _, count, last in blocks:
        if gathered >= rows:
            ends.append(last)
            gathered = 0
        ends[-1] = last
        gathered += count
    ranges = list(pairwise(ends)) or [(0, 0)]
    for number, (after, last) in enumerate(ranges):
        part = {**values, **(known or {}), "after": after, "last": last}
        yield Part(part, len(ranges) - number)
