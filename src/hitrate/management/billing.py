"""Billing routes: `/v1/teams/{team}/billing` and `/v1/teams/{team}/usage`."""

from typing import Annotated

from litestar import get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage import TeamUsageResponse, UsageCycleStore, team_usage
from hitrate.clock import Clock
from hitrate.errors import Forbidden
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.schemas import BillingResponse
from hitrate.teams.settings import BillingPatch, apply_billing
from hitrate.teams.store import TeamStore


@get(
    "/v1/teams/{team:str}/billing",
    operation_id="getTeamBilling",
    tags=["billing"],
    permission=Permission.USAGE,
)
@run_in_thread
def show_billing(
    request: AnyRequest, quotas: NamedDependency[QuotaEnforcer], clock: NamedDependency[Clock]
) -> BillingResponse:
    """Billing cycle, limits, prices and spend cap, and whether the team is blocked."""
    team = current_auth(request).team
    return BillingResponse.from_team(team, quotas.team_state(team), clock.now_ms())


@patch(
    "/v1/teams/{team:str}/billing",
    operation_id="changeTeamBilling",
    tags=["billing"],
    permission=Permission.BILLING,
)
@run_in_thread
def change_billing(
    request: AnyRequest,
    data: JSONBody[BillingPatch],
    teams: NamedDependency[TeamStore],
    authorizer: NamedDependency[Authorizer],
    quotas: NamedDependency[QuotaEnforcer],
    clock: NamedDependency[Clock],
) -> BillingResponse:
    """Change limits, prices, spend cap or cycle day; blocks only as the operator."""
    auth = current_auth(request)
    if data.requires_operator and not auth.token.is_operator:
        raise Forbidden(
            "Only the operator of the server can change softBlocked and paymentMissing, with "
            "`hitrate team block` and `hitrate team payment`."
        )
    now_ms = clock.now_ms()
    team = teams.change(
        auth.team,
        lambda settings: apply_billing(data, settings, now_ms),
        auth.actor,
        "billing.change",
    )
    authorizer.invalidate_cache()
    return BillingResponse.from_team(team, quotas.team_state(team), clock.now_ms())


@get(
    "/v1/teams/{team:str}/usage",
    operation_id="getTeamUsage",
    tags=["billing"],
    permission=Permission.USAGE,
)
@run_in_thread
def show_usage(
    request: AnyRequest,
    meter: NamedDependency[Meter],
    quotas: NamedDependency[QuotaEnforcer],
    usage_cycles: NamedDependency[UsageCycleStore],
    clock: NamedDependency[Clock],
    cycles: Annotated[
        int,
        QueryParameter(
            name="cycles", ge=0, le=120, description="Maximum number of past billing cycles."
        ),
    ] = 12,
) -> TeamUsageResponse:
    """Usage in the current and past billing cycles: used, remaining, cost and forecast."""
    team = current_auth(request).team
    state = quotas.team_state(team)
    return team_usage(team, state, meter, usage_cycles, clock.now_ms(), cycles)


HANDLERS = (show_billing, change_billing, show_usage)
