"""Making room on demand: `DELETE /v1/teams/{team}/artifacts`, `POST /v1/operator/gc`."""

from typing import Annotated

import msgspec
from litestar import Request, delete, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from hitrate.artifacts.gc import GarbageCollector, Report
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.guards import RequirePermission, current_auth


class Deleted(msgspec.Struct, rename="camel"):
    """How many artifacts were removed."""

    deleted_count: int


def artifact_api(
    store: ArtifactStore,
    retention: GarbageCollector,
    empties: RequirePermission,
    operates: RequirePermission,
) -> list[HTTPRouteHandler]:
    """The routes of this room."""

    @delete(
        "/v1/teams/{team:str}/artifacts",
        operation_id="emptyTeamCache",
        tags=["teams"],
        guards=[empties],
        status_code=200,
    )
    async def empty(request: Request[None, None, State]) -> Deleted:
        """Empty the team's cache, also where its stored bytes have shut it."""
        return Deleted(await store.remove_team(current_auth(request).team.id))

    @post(
        "/v1/operator/gc",
        operation_id="collectGarbage",
        summary="Remove what is unused, over a cap, or known to only one of files and index",
        tags=["operator"],
        guards=[operates],
        status_code=200,
        sync_to_thread=True,
    )
    def collect(
        dry_run: Annotated[
            bool, QueryParameter(name="dryRun", description="Only say what would be removed.")
        ] = False,
    ) -> Report:
        return retention.collect(dry_run=dry_run)

    return [empty, collect]
