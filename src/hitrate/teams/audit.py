"""The audit log: records of every change, their responses, and exports as NDJSON and CSV.

An entry is written in the transaction of the change that it records.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from hitrate.clock import iso
from hitrate.csv_safety import escape_formula
from hitrate.db.engine import map_database_errors
from hitrate.db.tables import AUDIT
from hitrate.teams.models import Actor

_BATCH_SIZE = 1000


class AuditEntry(msgspec.Struct):
    """A recorded change. `at_ms` is UTC; `details` holds the values before and after the change."""

    id: int
    at_ms: int
    team_id: str | None
    actor_kind: str
    actor_id: str
    actor_name: str
    action: str
    target: str
    details: dict[str, Any]


class AuditEntryResponse(msgspec.Struct, rename="camel"):
    """A recorded change: `actor` did `action` to `target`. `details` has the previous values."""

    id: int
    at: str
    actor_kind: str
    actor_id: str
    actor: str
    action: str
    target: str
    details: dict[str, object]

    @classmethod
    def from_entry(cls, entry: AuditEntry) -> "AuditEntryResponse":
        return cls(
            entry.id,
            iso(entry.at_ms),
            entry.actor_kind,
            entry.actor_id,
            entry.actor_name,
            entry.action,
            entry.target,
            entry.details,
        )


def record(
    connection: Connection,
    now_ms: int,
    actor: Actor,
    action: str,
    team_id: str | None,
    target: str,
    **details: Any,
) -> None:
    """Insert an entry in the transaction of the change.

    `action` is a noun and a verb, such as `token.create`. `details` must be JSON values.
    """
    row = {
        "at": now_ms,
        "team_id": team_id,
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "actor_name": actor.name,
        "action": action,
        "target": target,
        "details": msgspec.json.encode(details).decode(),
    }
    connection.execute(sa.insert(AUDIT), row)


class AuditLog:
    """Reads the audit log. Entries cannot be changed or removed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(
        self,
        team_id: str | None,
        limit: int,
        *,
        before: int | None = None,
        action: str | None = None,
        since_ms: int | None = None,
    ) -> list[AuditEntry]:
        """Return the newest entries of a team, or of all teams if `team_id` is None.

        `before` is the id of an entry; only older entries are returned.
        """
        query = sa.select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        if team_id is not None:
            query = query.where(AUDIT.c.team_id == team_id)
        if before is not None:
            query = query.where(AUDIT.c.id < before)
        if action is not None:
            query = query.where(AUDIT.c.action == action)
        if since_ms is not None:
            query = query.where(AUDIT.c.at >= since_ms)
        with map_database_errors(), self._engine.connect() as connection:
            return [_entry_from_row(row) for row in connection.execute(query)]

    def all(self, team_id: str | None) -> Iterator[AuditEntry]:
        """Iterate over all entries, newest first. Holds one batch in memory at a time."""
        before: int | None = None
        while entries := self.page(team_id, _BATCH_SIZE, before=before):
            yield from entries
            before = entries[-1].id


def as_ndjson(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """Encode entries as one JSON line each."""
    for entry in entries:
        yield msgspec.json.encode(AuditEntryResponse.from_entry(entry)) + b"\n"


def as_csv(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """Encode entries as CSV: a header, then a row for each entry, with formulas escaped."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(field.encode_name for field in msgspec.structs.fields(AuditEntryResponse))
    for entry in entries:
        row = msgspec.structs.asdict(AuditEntryResponse.from_entry(entry))
        row["details"] = msgspec.json.encode(entry.details).decode()
        writer.writerow(escape_formula(str(value)) for value in row.values())
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _entry_from_row(row: Row[*tuple[Any, ...]]) -> AuditEntry:
    return AuditEntry(
        row.id,
        row.at,
        row.team_id,
        row.actor_kind,
        row.actor_id,
        row.actor_name,
        row.action,
        row.target,
        msgspec.json.decode(row.details, type=dict[str, Any]),
    )
