"""Artifact administration: `DELETE /v1/teams/{team}/artifacts`, `POST /v1/operator/gc`."""

from typing import Annotated

import msgspec
from litestar import delete, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from hitrate.artifacts.gc import CollectionReport, GarbageCollector
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.http.litestar import AnyRequest, run_in_thread


class DeletedArtifacts(msgspec.Struct, rename="camel"):
    """Number of artifacts deleted."""

    deleted_count: int


@delete(
    "/v1/teams/{team:str}/artifacts",
    operation_id="emptyTeamCache",
    tags=["teams"],
    permission=Permission.SETTINGS,
    status_code=200,
)
async def empty_team_cache(
    request: AnyRequest, artifacts: NamedDependency[ArtifactStore]
) -> DeletedArtifacts:
    """Delete all artifacts of the team, even if it is over its stored-bytes limit."""
    return DeletedArtifacts(await artifacts.remove_team(current_auth(request).team.id))


@post(
    "/v1/operator/gc",
    operation_id="collectGarbage",
    summary="Evict expired artifacts and those above a size limit, and repair the index",
    tags=["operator"],
    permission=Permission.OPERATOR,
    status_code=200,
)
@run_in_thread
def collect_garbage(
    garbage_collector: NamedDependency[GarbageCollector],
    dry_run: Annotated[
        bool, QueryParameter(name="dryRun", description="Report what would be removed.")
    ] = False,
) -> CollectionReport:
    return garbage_collector.collect(dry_run=dry_run)


HANDLERS = (empty_team_cache, collect_garbage)
