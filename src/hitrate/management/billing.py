"""Limits, prices and payment of a team: `/v1/teams/{team}/billing`.

What a team used: `/v1/teams/{team}/usage`.
"""

from typing import Annotated

from litestar import get, patch
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.billing.usage import TeamUsageResponse
from hitrate.errors import Forbidden
from hitrate.management.schemas import BillingInfo, billing_info
from hitrate.management.services import AccountServices
from hitrate.management.settings import AnyRequest
from hitrate.teams.models import Team
from hitrate.teams.settings import BillingPatch, apply_billing


def billing_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    def info(team: Team) -> BillingInfo:
        return billing_info(team, office.standing.team_state(team), office.clock.now_ms())

    @get(
        "/v1/teams/{team:str}/billing",
        operation_id="getTeamBilling",
        tags=["billing"],
        guards=[office.needs(Permission.USAGE)],
        sync_to_thread=True,
    )
    def show(request: AnyRequest) -> BillingInfo:
        """The cycle, limits, prices and spend cap, and whether the team is blocked."""
        return info(current_auth(request).team)

    @patch(
        "/v1/teams/{team:str}/billing",
        operation_id="changeTeamBilling",
        tags=["billing"],
        guards=[office.needs(Permission.BILLING)],
        sync_to_thread=True,
    )
    def change(request: AnyRequest, data: JSONBody[BillingPatch]) -> BillingInfo:
        """Change limits, prices, spend cap or the cycle's day; a block only as the operator."""
        auth = current_auth(request)
        if data.is_for_operator and not auth.token.is_operator:
            raise Forbidden(
                "softBlocked and paymentMissing are for the operator of the server: "
                "`hitrate team block`, `hitrate team payment`."
            )
        now_ms = office.clock.now_ms()
        team = office.accounts.teams.change(
            auth.team,
            lambda settings: apply_billing(data, settings, now_ms),
            auth.actor,
            "billing.change",
        )
        office.authorizer.invalidate_cache()
        return info(team)

    return [show, change]


def usage_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get(
        "/v1/teams/{team:str}/usage",
        operation_id="getTeamUsage",
        tags=["billing"],
        guards=[office.needs(Permission.USAGE)],
        sync_to_thread=True,
    )
    def usage(
        request: AnyRequest,
        cycles: Annotated[
            int, QueryParameter(name="cycles", ge=0, le=120, description="Past cycles, at most.")
        ] = 12,
    ) -> TeamUsageResponse:
        """Current and past billing cycles: used, left, cost so far, forecast for the end."""
        return office.usage(current_auth(request).team, cycles)

    return [usage]
