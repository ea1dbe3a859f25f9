"""Limits, prices and payment of a team: `/v1/teams/{team}/billing`."""

import msgspec
from litestar import get, patch
from litestar.handlers import HTTPRouteHandler

from hitrate.accounts.api.office import Office, iso_or_none
from hitrate.accounts.api.team import AnyRequest
from hitrate.accounts.billing import BillingPatch, apply_billing
from hitrate.accounts.guard import grant_of
from hitrate.accounts.limits import STATUS, State
from hitrate.accounts.model import Access, Team
from hitrate.accounts.money import money_text
from hitrate.accounts.settings import Limits
from hitrate.clock import iso
from hitrate.errors import Forbidden


class CycleInfo(msgspec.Struct):
    """`day` of the month on which cycles begin, at 00:00 UTC; `start` and `end` of this one."""

    day: int
    start: str
    end: str


class BillingInfo(msgspec.Struct, rename="camel"):
    """Money as text in the currency; a null limit or cap is none."""

    cycle: CycleInfo
    limits: Limits
    currency: str
    prices: dict[str, str]
    spend_cap: str | None
    paused_since: str | None
    soft_blocked: bool
    payment_missing: bool
    state: State
    status: str


def billing_info(team: Team, state: State, now_ms: int) -> BillingInfo:
    """What a team may use and pays."""
    settings = team.settings
    cycle = settings.cycle.at(now_ms)
    prices: dict[str, int] = msgspec.to_builtins(settings.prices)
    return BillingInfo(
        cycle=CycleInfo(settings.cycle.day, iso(cycle.start_ms), iso(cycle.end_ms)),
        limits=settings.limits,
        currency=settings.currency,
        prices={name: money_text(price) for name, price in prices.items()},
        spend_cap=None if settings.spend_cap is None else money_text(settings.spend_cap),
        paused_since=iso_or_none(settings.paused_at_ms),
        soft_blocked=settings.soft_blocked,
        payment_missing=settings.payment_missing,
        state=state,
        status=STATUS[state],
    )


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
    def change(request: AnyRequest, data: BillingPatch) -> BillingInfo:
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
