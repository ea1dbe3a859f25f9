"""Runs in a list, and one run with its tasks."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.auth.models import Permission
from hitrate.errors import BadRequest
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.pages.context import Dashboard
from hitrate.pages.query import choices, question_of

_A_PAGE = 50
_TASKS_A_PAGE = 200

_ORDERS = {
    "newest": "newest first",
    "best": "best hit rate first",
    "worst": "worst hit rate first",
    "saved": "most time saved first",
    "largest": "most tasks first",
}


def run_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/teams/{slug:str}/runs", **dashboard.page)
    @run_in_thread
    def runs(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.ANALYTICS)
        seen = dashboard.pulse(visit)
        question = question_of(request, visit, dashboard.clock)
        order = asked_order(request, _ORDERS, "newest")
        return dashboard.show(
            visit,
            "runs.html",
            seen=seen,
            **choices(dashboard.reports, question),
            order=order,
            orders=_ORDERS,
            summary=dashboard.reports.summary(question.scope),
            found=dashboard.reports.runs(question.scope, order, _A_PAGE, offset_of(request)),
            offset=offset_of(request),
        )

    @get("/teams/{slug:str}/run", **dashboard.page)
    @run_in_thread
    def run(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.ANALYTICS)
        seen = dashboard.pulse(visit)
        session_id = request.query_params.get("session", "")
        offset = offset_of(request)
        found = dashboard.cache.run(visit.team, session_id, _TASKS_A_PAGE, offset)
        return dashboard.show(
            visit, "run.html", seen=seen, found=found, run=found.run, offset=offset
        )

    return [runs, run]


def asked_order(request: AnyRequest, orders: dict[str, str], usual: str) -> str:
    """The order in a page's address. Raises BadRequest."""
    order = request.query_params.get("order") or usual
    if order not in orders:
        raise BadRequest(f"There is no order {order[:40]!a}; there are {', '.join(orders)}.")
    return order


def offset_of(request: AnyRequest) -> int:
    """How many entries the pages before showed. Raises BadRequest."""
    cursor = request.query_params.get("cursor") or "0"
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
        raise BadRequest("The address names no page of this list; begin with its first.")
    return int(cursor)
