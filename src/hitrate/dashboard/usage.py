"""Usage and limits: the billing cycle with its forecast, and the cycles before it."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.accounts.limits import State
from hitrate.accounts.model import Access
from hitrate.dashboard.frame import Dashboard
from hitrate.login.desk import in_thread
from hitrate.login.pages import Page
from hitrate.web.framework import AnyRequest

_PAST_CYCLES = 12

MEASURES = {
    "uploaded_bytes": "Uploaded",
    "downloaded_bytes": "Downloaded",
    "requests": "Requests",
    "events": "Events",
    "stored_bytes": "Stored",
}

STATES = {
    State.ACTIVE: "Remote Caching works.",
    State.SOFT_BLOCKED: "The team is blocked. The operator of this server lifts the block.",
    State.PAYMENT_MISSING: "A payment is missing. The operator of this server notes its arrival.",
    State.DISABLED: "Remote Caching is switched off for the team.",
    State.PAUSED: "Remote Caching is paused: the spend cap is reached.",
    State.OVER_LIMIT: "Remote Caching is refused: a limit of this cycle is reached.",
}


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
            states=STATES,
        )

    return [usage]
