"""The overview of a team's cache in numbers and charts, and the page that shows how to connect."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hitrate.analytics.reports import Reports
from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission
from hitrate.auth.permissions import ROLE_PERMISSIONS
from hitrate.clock import Clock
from hitrate.http.html import HtmlRenderer, Page
from hitrate.http.litestar import AnyRequest, run_in_page_thread
from hitrate.http.redirects import ACCOUNT_PATH, DASHBOARD_PATH, PublicUrl
from hitrate.pages.context import PageContext, TeamPages, data_version, team_path
from hitrate.pages.query import PageQuery, filter_bar, parse_query
from hitrate.pages.timeline import timeline
from hitrate.teams.members import MemberStore

_RUNS_LISTED = 5
_BREAKDOWNS = ("ci", "interactive", "agent", "token")


@get(DASHBOARD_PATH, permission=Permission.SESSION)
@run_in_page_thread
def home(
    request: AnyRequest,
    html: NamedDependency[HtmlRenderer],
    members: NamedDependency[MemberStore],
) -> Page:
    """Redirect to the user's first team, on the first page that the role may view."""
    memberships = members.list_for_user(current_session(request).user)
    if not memberships:
        return html.redirect(ACCOUNT_PATH)
    first = min(memberships, key=lambda member: member.team.slug)
    page = "" if Permission.ANALYTICS in ROLE_PERMISSIONS[first.role] else "/usage"
    return html.redirect(team_path(first.team.slug, page))


@get("/teams/{slug:str}", permission=Permission.SESSION)
@run_in_page_thread
def overview(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    reports: NamedDependency[Reports],
    clock: NamedDependency[Clock],
    public_url: NamedDependency[PublicUrl],
) -> Page:
    """Show the numbers and charts of a period, or how to connect while there are no events."""
    context = team_pages.context(request, slug, Permission.ANALYTICS)
    query = parse_query(request, context, clock)
    version = data_version(reports, context.team, clock)
    if reports.change_token(context.team.id, 0) == (0, 0):
        url = public_url.for_request(request)
        return team_pages.render(context, "empty.html", version=version, url=url)
    values = _overview(reports, context, query)
    return team_pages.render(context, "overview.html", version=version, **values)


@get("/teams/{slug:str}/version", permission=Permission.SESSION)
@run_in_page_thread
def version(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    reports: NamedDependency[Reports],
    clock: NamedDependency[Clock],
) -> Response[str]:
    """Return the version of a team's data, which open pages poll."""
    context = team_pages.context(request, slug, Permission.ANALYTICS)
    text = data_version(reports, context.team, clock)
    return Response(text, media_type="text/plain", headers={"cache-control": "no-store"})


@get("/teams/{slug:str}/connect", permission=Permission.SESSION)
@run_in_page_thread
def connect(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    public_url: NamedDependency[PublicUrl],
) -> Page:
    """Show the configuration of turbo, GitHub Actions and GitLab CI for this team."""
    context = team_pages.context(request, slug, Permission.TEAM)
    return team_pages.render(context, "connect_team.html", url=public_url.for_request(request))


def _overview(reports: Reports, context: PageContext, query: PageQuery) -> dict[str, Any]:
    report = query.report
    return {
        **filter_bar(reports, query),
        "summary": reports.summary(report),
        "timeline": timeline(reports, context, query),
        "breakdowns": [reports.breakdown(report, by) for by in _BREAKDOWNS],
        "best": reports.runs(report, "best", _RUNS_LISTED, 0).runs,
        "worst": reports.runs(report, "worst", _RUNS_LISTED, 0).runs,
    }


HANDLERS = (home, overview, version, connect)
