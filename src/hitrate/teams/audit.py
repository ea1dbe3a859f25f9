"""The audit log: who changed what, and when. Written in the transaction of the change itself.

The audit log as it is shown and exported: JSON, lines of JSON, CSV. Pure.
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

_MANY = 1000


class AuditEntry(msgspec.Struct, rename="camel"):
    """One change. `at` in UTC milliseconds; `details` says what it was before and is now."""

    id: int
    at: int
    team_id: str | None
    actor_kind: str
    actor_id: str
    actor_name: str
    action: str
    target: str
    details: dict[str, Any]


def record(
    connection: Connection,
    now_ms: int,
    actor: Actor,
    action: str,
    team_id: str | None,
    target: str,
    **details: Any,
) -> None:
    """Write down a change. `action` is a thing and a verb: `token.create`."""
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
    """Reading. There is no way to change or remove an entry."""

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
        """The newest entries of one team, or of everything when `team_id` is None."""
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
            return [_entry(row) for row in connection.execute(query)]

    def all(self, team_id: str | None) -> Iterator[AuditEntry]:
        """Every entry, newest first, in flat memory."""
        before: int | None = None
        while entries := self.page(team_id, _MANY, before=before):
            yield from entries
            before = entries[-1].id


def _entry(row: Row[*tuple[Any, ...]]) -> AuditEntry:
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


class AuditInfo(msgspec.Struct, rename="camel"):
    """One change: `actor` did `action` to `target`; `details` say what it was and is."""

    id: int
    at: str
    actor_kind: str
    actor_id: str
    actor: str
    action: str
    target: str
    details: dict[str, object]


def audit_info(entry: AuditEntry) -> AuditInfo:
    """As it is shown."""
    return AuditInfo(
        entry.id,
        iso(entry.at),
        entry.actor_kind,
        entry.actor_id,
        entry.actor_name,
        entry.action,
        entry.target,
        entry.details,
    )


def as_ndjson(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """A line of JSON each."""
    for entry in entries:
        yield msgspec.json.encode(audit_info(entry)) + b"\n"


def as_csv(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """A header and a row each; a value that a spreadsheet would run as a formula is quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(field.encode_name for field in msgspec.structs.fields(AuditInfo))
    for entry in entries:
        row = msgspec.structs.asdict(audit_info(entry))
        row["details"] = msgspec.json.encode(entry.details).decode()
        writer.writerow(escape_formula(str(value)) for value in row.values())
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()
