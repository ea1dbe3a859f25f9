"""Limits, prices and payment of a team: `/v1/teams/{team}/billing`."""

from litestar import get, patch
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from hitrate.accounts.api.office import Office
from hitrate.accounts.api.team import AnyRequest
from hitrate.accounts.billing import BillingInfo, BillingPatch, apply_billing, billing_info
from hitrate.accounts.guard import grant_of
from hitrate.accounts.model import Access, Team
from hitrate.errors import Forbidden


def billing_api(office: Office) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    def info(team: Team) -> BillingInfo:
        return billing_info(team, office.standing.of_team(team), office.clock.now_ms())

    @get(
        "/v1/teams/{team:str}/billing",
        operation_id="getTeamBilling",
        tags=["billing"],
        guards=[office.needs(Access.USAGE)],
        sync_to_thread=True,
    )
    def show(request: AnyRequest) -> BillingInfo:
        """The cycle, limits, prices and spend cap, and whether the team is blocked."""
        return info(grant_of(request).team)

    @patch(
        "/v1/teams/{team:str}/billing",
        operation_id="changeTeamBilling",
        tags=["billing"],
        guards=[office.needs(Access.BILLING)],
        sync_to_thread=True,
    )
    def change(request: AnyRequest, data: JSONBody[BillingPatch]) -> BillingInfo:
        """Change limits, prices, spend cap or the cycle's day; a block only as the operator."""
        grant = grant_of(request)
        if data.is_for_operator and not grant.token.is_operator:
            raise Forbidden(
                "softBlocked and paymentMissing are for the operator of the server: "
                "`hitrate team block`, `hitrate team payment`."
            )
        now_ms = office.clock.now_ms()
        team = office.accounts.teams.change(
            grant.team,
            lambda settings: apply_billing(data, settings, now_ms),
            grant.actor,
            "billing.change",
        )
        office.gate.forget()
        return info(team)

    return [show, change]
