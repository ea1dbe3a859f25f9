"""The list of runs, and the page of one run with its tasks."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.reports import Reports
from hitrate.auth.models import Permission
from hitrate.clock import Clock
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_page_thread
from hitrate.pages.context import TeamPages, data_version
from hitrate.pages.query import filter_bar, parse_offset, parse_order, parse_query

_RUNS_PER_PAGE = 50
_TASKS_PER_PAGE = 200

_ORDERS = {
    "newest": "Newest",
    "best": "Best hit rate",
    "worst": "Worst hit rate",
    "saved": "Most time saved",
    "largest": "Most tasks",
}


@get("/teams/{slug:str}/runs", permission=Permission.SESSION)
@run_in_page_thread
def list_runs(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    reports: NamedDependency[Reports],
    clock: NamedDependency[Clock],
) -> Page:
    """Show the runs of a period."""
    context = team_pages.context(request, slug, Permission.ANALYTICS)
    version = data_version(reports, context.team, clock)
    query = parse_query(request, context, clock)
    order = parse_order(request, _ORDERS, "newest")
    offset = parse_offset(request)
    return team_pages.render(
        context,
        "runs.html",
        version=None if offset else version,
        **filter_bar(reports, query),
        order=order,
        orders=_ORDERS,
        summary=reports.summary(query.report),
        page=reports.runs(query.report, order, _RUNS_PER_PAGE, offset),
        offset=offset,
    )


@get("/teams/{slug:str}/run", permission=Permission.SESSION)
@run_in_page_thread
def show_run(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    reports: NamedDependency[Reports],
    artifact_reports: NamedDependency[ArtifactReports],
    clock: NamedDependency[Clock],
) -> Page:
    """Show a run and its tasks."""
    context = team_pages.context(request, slug, Permission.ANALYTICS)
    version = data_version(reports, context.team, clock)
    session_id = request.query_params.get("session", "")
    offset = parse_offset(request)
    return team_pages.render(
        context,
        "run.html",
        version=None if offset else version,
        page=artifact_reports.run(context.team, session_id, _TASKS_PER_PAGE, offset),
        offset=offset,
    )


HANDLERS = (list_runs, show_run)
