"""Audit log routes: `/v1/teams/{team}/audit` and its export as one file."""

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.paging import Cursor, Limit, take_page
from hitrate.teams.audit import AuditEntryResponse, AuditLog, as_csv, as_ndjson

_MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv"}


class AuditPageResponse(msgspec.Struct, rename="camel"):
    """Entries, newest first. `next_cursor` requests the next page; null on the last one."""

    entries: list[AuditEntryResponse]
    next_cursor: str | None


@get(
    "/v1/teams/{team:str}/audit",
    operation_id="listAudit",
    tags=["audit"],
    permission=Permission.AUDIT,
)
@run_in_thread
def list_audit(
    request: AnyRequest,
    audit_log: NamedDependency[AuditLog],
    action: Annotated[
        str | None, QueryParameter(name="action", description="Such as token.create.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> AuditPageResponse:
    """Changes of the team's tokens, members, settings and billing, newest first."""
    before = None if cursor is None else int(cursor)
    team_id = current_auth(request).team.id
    entries = audit_log.page(team_id, limit + 1, before=before, action=action)
    page, next_cursor = take_page(entries, limit, lambda entry: entry.id)
    return AuditPageResponse([AuditEntryResponse.from_entry(entry) for entry in page], next_cursor)


@get(
    "/v1/teams/{team:str}/audit/export",
    operation_id="exportAudit",
    tags=["audit"],
    permission=Permission.AUDIT,
    opt={"content_types": list(_MEDIA_TYPES.values())},
)
@run_in_thread
def export_audit(
    request: AnyRequest,
    audit_log: NamedDependency[AuditLog],
    format: Annotated[  # noqa: A002  # reason: the name of the query parameter
        Literal["ndjson", "csv"], QueryParameter(description="ndjson or csv.")
    ] = "ndjson",
) -> Stream:
    """The complete audit log as one file."""
    team = current_auth(request).team
    encode = as_csv if format == "csv" else as_ndjson
    filename = f"{team.slug}-audit.{format}"
    return Stream(
        encode(audit_log.all(team.id)),
        media_type=_MEDIA_TYPES[format],
        headers={"content-disposition": f'attachment; filename="{filename}"'},
    )


HANDLERS = (list_audit, export_audit)
