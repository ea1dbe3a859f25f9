"""Who changed what: `/v1/teams/{team}/audit`, a page at a time or all at once."""

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response import Stream

from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.http.paging import Cursor, Limit
from hitrate.management.services import AccountServices
from hitrate.management.settings import AnyRequest
from hitrate.teams.audit import AuditEntryResponse, as_csv, as_ndjson

_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv"}


class AuditPage(msgspec.Struct, rename="camel"):
    """Newest first. `next_cursor` asks for the ones after them; null at the end."""

    entries: list[AuditEntryResponse]
    next_cursor: str | None


def audit_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    log, needs = office.accounts.audit, office.needs(Permission.AUDIT)

    @get(
        "/v1/teams/{team:str}/audit",
        operation_id="listAudit",
        tags=["audit"],
        guards=[needs],
        sync_to_thread=True,
    )
    def page(
        request: AnyRequest,
        action: Annotated[
            str | None, QueryParameter(name="action", description="Such as token.create.")
        ] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> AuditPage:
        """Every change of the team's tokens, members, settings and billing, newest first."""
        before = None if cursor is None else int(cursor)
        team_id = current_auth(request).team.id
        entries = log.page(team_id, limit + 1, before=before, action=action)
        shown = [AuditEntryResponse.from_entry(entry) for entry in entries[:limit]]
        return AuditPage(shown, str(shown[-1].id) if len(entries) > limit else None)

    @get(
        "/v1/teams/{team:str}/audit/export",
        operation_id="exportAudit",
        tags=["audit"],
        guards=[needs],
        opt={"content_types": list(_TYPES.values())},
        sync_to_thread=True,
    )
    def export(
        request: AnyRequest,
        format: Annotated[  # noqa: A002  # reason: refusals name the parameter
            Literal["ndjson", "csv"], QueryParameter(description="ndjson or csv.")
        ] = "ndjson",
    ) -> Stream:
        """The whole log as one file."""
        team = current_auth(request).team
        encode = as_csv if format == "csv" else as_ndjson
        name = f"{team.slug}-audit.{format}"
        return Stream(
            encode(log.all(team.id)),
            media_type=_TYPES[format],
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    return [page, export]
