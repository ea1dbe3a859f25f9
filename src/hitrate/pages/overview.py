"""The overview: what a team's cache did in a period, in numbers and charts."""

from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.redirects import ACCOUNT_PATH
from hitrate.pages.context import Dashboard, Visit, team_link
from hitrate.pages.query import Question, choices, question_of
from hitrate.pages.timeline import timeline

_LISTED = 5
_BREAKDOWNS = ("ci", "interactive", "agent", "token")


def overview_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/", **dashboard.page)
    @run_in_thread
    def start(request: AnyRequest) -> Page:
        """To the overview of a person's first team, or the first page that their role sees."""
        members = dashboard.office.accounts.members.list_for_user(current_session(request).user)
        for member in sorted(members, key=lambda member: member.team.slug):
            visit = dashboard.visit(request, member.team.slug, Permission.TEAM)
            page = "" if Permission.ANALYTICS in visit.access else "/usage"
            return dashboard.html.redirect(team_link(member.team.slug, page))
        return dashboard.html.redirect(ACCOUNT_PATH)

    @get("/teams/{slug:str}", **dashboard.page)
    @run_in_thread
    def overview(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.ANALYTICS)
        question = question_of(request, visit, dashboard.clock)
        seen = dashboard.pulse(visit)
        if dashboard.reports.change_token(visit.team.id, 0) == (0, 0):
            url = dashboard.public_url.for_request(request)
            return dashboard.show(visit, "empty.html", seen=seen, url=url)
        values = _overview(dashboard, visit, question)
        return dashboard.show(visit, "overview.html", seen=seen, **values)

    @get("/teams/{slug:str}/pulse", **dashboard.page)
    @run_in_thread
    def pulse(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
        visit = dashboard.visit(request, slug, Permission.ANALYTICS)
        headers = {"cache-control": "no-store"}
        return Response(dashboard.pulse(visit), media_type="text/plain", headers=headers)

    return [start, overview, pulse]


def _overview(dashboard: Dashboard, visit: Visit, question: Question) -> dict[str, Any]:
    reports, scope = dashboard.reports, question.scope
    return {
        **choices(reports, question),
        "summary": reports.summary(scope),
        "timeline": timeline(reports, visit, question),
        "breakdowns": [reports.breakdown(scope, by) for by in _BREAKDOWNS],
        "best": reports.runs(scope, "best", _LISTED, 0).runs,
        "worst": reports.runs(scope, "worst", _LISTED, 0).runs,
    }
