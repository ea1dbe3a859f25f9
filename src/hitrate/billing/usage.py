"""What a team used, has left, pays, and will have used at its cycle's end. Pure."""

import msgspec

from hitrate.billing.pricing import Amounts, cost, forecast
from hitrate.billing.quotas import State, limits_reached
from hitrate.billing.usage_cycles import PastCycle
from hitrate.clock import iso
from hitrate.money import money_text
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team
from hitrate.teams.settings import MEASURES, Limits


class Measures(msgspec.Struct, rename="camel"):
    """`stored_bytes` is what is kept at the end (or now), `average_stored_bytes` over the time."""

    uploaded_bytes: int
    downloaded_bytes: int
    requests: int
    events: int
    stored_bytes: int
    average_stored_bytes: int
    cost: str


class Forecast(Measures, rename="camel"):
    """If it goes on as it went. `over_limit`: the limits that will be reached by then;
    `over_spend_cap`: whether the cap will."""

    over_limit: list[str]
    over_spend_cap: bool


class CurrentCycle(msgspec.Struct, rename="camel"):
    """`left` of each limit, never below 0; null where there is none."""

    start: str
    end: str
    used: Measures
    limits: Limits
    left: Limits
    spend_cap: str | None
    spend_left: str | None
    forecast: Forecast


class PastUsage(msgspec.Struct, rename="camel"):
    """A cycle that has ended, at the prices of its end."""

    start: str
    end: str
    currency: str
    used: Measures


class Usage(msgspec.Struct, rename="camel"):
    """Money is text in `currency`; `past` is newest first."""

    team: str
    state: State
    currency: str
    current: CurrentCycle
    past: list[PastUsage]


def usage_of(
    team: Team, state: State, cycle: Cycle, used: Amounts, past: list[PastCycle], now_ms: int
) -> Usage:
    """The whole account of a team, from the meter and the ledger."""
    settings = team.settings
    length_ms, elapsed_ms = cycle.end_ms - cycle.start_ms, max(1, now_ms - cycle.start_ms)
    ahead = forecast(used, elapsed_ms, max(0, cycle.end_ms - now_ms))
    spent, will_spend = (cost(settings.prices, a, length_ms) for a in (used, ahead))
    cap = settings.spend_cap
    expected = _measures(ahead, length_ms, will_spend)
    current = CurrentCycle(
        start=iso(cycle.start_ms),
        end=iso(cycle.end_ms),
        used=_measures(used, elapsed_ms, spent),
        limits=settings.limits,
        left=_left(settings.limits, used),
        spend_cap=None if cap is None else money_text(cap),
        spend_left=None if cap is None else money_text(max(0, cap - spent)),
        forecast=Forecast(
            **msgspec.structs.asdict(expected),
            over_limit=limits_reached(settings.limits, ahead),
            over_spend_cap=cap is not None and will_spend >= cap,
        ),
    )
    return Usage(team.slug, state, settings.currency, current, [_past(one) for one in past])


def _measures(used: Amounts, time_ms: int, cost_millionths: int) -> Measures:
    return Measures(
        **{name: getattr(used, name) for name in MEASURES},
        average_stored_bytes=used.stored_byte_ms // time_ms,
        cost=money_text(cost_millionths),
    )


def _left(limits: Limits, used: Amounts) -> Limits:
    left = {
        name: None if limit is None else max(0, limit - getattr(used, name))
        for name, limit in msgspec.structs.asdict(limits).items()
    }
    return Limits(**left)


def _past(cycle: PastCycle) -> PastUsage:
    measures = Measures(
        **{name: getattr(cycle, name) for name in MEASURES},
        average_stored_bytes=cycle.average_stored_bytes,
        cost=money_text(cycle.cost),
    )
    return PastUsage(iso(cycle.start_ms), iso(cycle.end_ms), cycle.currency, measures)
