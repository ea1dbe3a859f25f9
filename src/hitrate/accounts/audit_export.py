"""The audit log as it is shown and exported: JSON, lines of JSON, CSV. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from hitrate.accounts.audit import AuditEntry
from hitrate.clock import iso

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, the wide forms of = + - @ too."""


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
        writer.writerow(_harmless(str(value)) for value in row.values())
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _harmless(value: str) -> str:
    return "'" + value if value.startswith(_FORMULA) else value
