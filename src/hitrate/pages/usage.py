"""Usage and limits: the billing cycle with its forecast, and the cycles before it."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.auth.models import Permission
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.pages.context import MEASURES, Dashboard

_PAST_CYCLES = 12


def usage_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/teams/{slug:str}/usage", **dashboard.page)
    @run_in_thread
    def usage(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.USAGE)
        return dashboard.show(
            visit,
            "usage.html",
            usage=dashboard.office.usage(visit.team, _PAST_CYCLES),
            measures=MEASURES,
        )

    return [usage]
