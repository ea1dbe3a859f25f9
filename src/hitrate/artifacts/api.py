"""Collecting garbage on demand: `POST /v1/operator/gc`."""

from typing import Annotated

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from hitrate.accounts.guard import Needs
from hitrate.artifacts.retention import Report, Retention


def artifact_api(retention: Retention, operates: Needs) -> list[HTTPRouteHandler]:
    """The routes of this room."""

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

    return [collect]
