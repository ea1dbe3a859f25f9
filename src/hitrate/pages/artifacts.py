"""Stored artifacts in a list, and one artifact with its uses."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.auth.models import Permission
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.pages.context import Dashboard
from hitrate.pages.query import PERIODS, question_of
from hitrate.pages.runs import asked_order, offset_of

_A_PAGE = 50

_ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "largest": "largest first",
    "smallest": "smallest first",
    "recent": "last used first",
    "idle": "longest unused first",
    "hits": "most hits first",
}


def artifact_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/teams/{slug:str}/artifacts", **dashboard.page)
    @run_in_thread
    def artifacts(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.ANALYTICS)
        seen = dashboard.pulse(visit)
        question = question_of(request, visit, dashboard.clock)
        order = asked_order(request, _ORDERS, "newest")
        unused = request.query_params.get("unused") == "true"
        found = dashboard.cache.artifacts(
            question.scope, order, _A_PAGE, offset_of(request), unused=unused
        )
        kept = dashboard.reports.stored(visit.team.id)
        return dashboard.show(
            visit,
            "artifacts.html",
            seen=seen,
            question=question,
            periods=PERIODS,
            order=order,
            orders=_ORDERS,
            unused=unused,
            found=found,
            kept=kept,
            offset=offset_of(request),
        )

    @get("/teams/{slug:str}/artifact", **dashboard.page)
    @run_in_thread
    def artifact(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.ANALYTICS)
        seen = dashboard.pulse(visit)
        question = question_of(request, visit, dashboard.clock)
        name = request.query_params.get("hash", "")
        offset = offset_of(request)
        found = dashboard.cache.artifact(question.scope, name, _A_PAGE, offset)
        return dashboard.show(
            visit,
            "artifact.html",
            seen=seen,
            question=question,
            periods=PERIODS,
            found=found,
            artifact=found.artifact,
            offset=offset,
        )

    return [artifacts, artifact]
