"""The page of billing cycles: usage, limits and forecast of the current one, and past usage."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hitrate.auth.models import Permission
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage import UsageCycleStore, team_usage
from hitrate.clock import Clock
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_page_thread
from hitrate.pages.context import MEASURE_LABELS, TeamPages

_PAST_CYCLES = 12


@get("/teams/{slug:str}/usage", permission=Permission.SESSION)
@run_in_page_thread
def show_usage(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    quotas: NamedDependency[QuotaEnforcer],
    meter: NamedDependency[Meter],
    usage_cycles: NamedDependency[UsageCycleStore],
    clock: NamedDependency[Clock],
) -> Page:
    """Show the usage, limits and forecast of the current billing cycle, and past cycles."""
    context = team_pages.context(request, slug, Permission.USAGE)
    team, state = context.team, quotas.team_state(context.team)
    usage = team_usage(team, state, meter, usage_cycles, clock.now_ms(), _PAST_CYCLES)
    return team_pages.render(context, "usage.html", usage=usage, measures=MEASURE_LABELS)


HANDLERS = (show_usage,)
