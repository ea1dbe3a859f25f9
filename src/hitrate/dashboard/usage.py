"""Usage and limits: the billing cycle with its forecast, and the cycles before it."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.accounts.model import Access
from hitrate.dashboard.frame import MEASURES, Dashboard
from hitrate.login.desk import in_thread
from hitrate.login.pages import Page
from hitrate.web.framework import AnyRequest

_PAST_CYCLES = 12


def usage_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/teams/{slug:str}/usage", **dashboard.page)
    @in_thread
    def usage(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Access.USAGE)
        return dashboard.show(
            visit,
            "usage.html",
            usage=dashboard.office.usage(visit.team, _PAST_CYCLES),
            measures=MEASURES,
        )

    return [usage]
