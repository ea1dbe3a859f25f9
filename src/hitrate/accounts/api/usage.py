"""What a team used: `/v1/teams/{team}/usage`."""

from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from hitrate.accounts.api.office import Office
from hitrate.accounts.api.team import AnyRequest
from hitrate.accounts.guard import grant_of
from hitrate.accounts.model import Access
from hitrate.accounts.usage import Usage


def usage_api(office: Office) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get(
        "/v1/teams/{team:str}/usage",
        operation_id="getTeamUsage",
        tags=["billing"],
        guards=[office.needs(Access.USAGE)],
        sync_to_thread=True,
    )
    def usage(
        request: AnyRequest,
        cycles: Annotated[
            int, QueryParameter(name="cycles", ge=0, le=120, description="Past cycles, at most.")
        ] = 12,
    ) -> Usage:
        """Current and past billing cycles: used, left, cost so far, forecast for the end."""
        return office.usage(grant_of(request).team, cycles)

    return [usage]
