"""The list of stored artifacts, and the page of one artifact with the runs that used it."""

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
from hitrate.pages.query import PERIODS, parse_offset, parse_order, parse_query

_PAGE_SIZE = 50

_ORDERS = {
    "newest": "Newest",
    "oldest": "Oldest",
    "largest": "Largest",
    "smallest": "Smallest",
    "recent": "Most recently used",
    "idle": "Least recently used",
    "hits": "Most hits",
}


@get("/teams/{slug:str}/artifacts", permission=Permission.SESSION)
@run_in_page_thread
def list_artifacts(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    reports: NamedDependency[Reports],
    artifact_reports: NamedDependency[ArtifactReports],
    clock: NamedDependency[Clock],
) -> Page:
    """Show the stored artifacts with their hits in a period."""
    context = team_pages.context(request, slug, Permission.ANALYTICS)
    version = data_version(reports, context.team, clock)
    query = parse_query(request, context, clock)
    order = parse_order(request, _ORDERS, "newest")
    offset = parse_offset(request)
    unused = request.query_params.get("unused") == "true"
    page = artifact_reports.artifacts(query.report, order, _PAGE_SIZE, offset, unused=unused)
    return team_pages.render(
        context,
        "artifacts.html",
        version=None if offset else version,
        query=query,
        periods=PERIODS,
        order=order,
        orders=_ORDERS,
        unused=unused,
        page=page,
        stored=reports.stored(context.team.id),
        offset=offset,
    )


@get("/teams/{slug:str}/artifact", permission=Permission.SESSION)
@run_in_page_thread
def show_artifact(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    reports: NamedDependency[Reports],
    artifact_reports: NamedDependency[ArtifactReports],
    clock: NamedDependency[Clock],
) -> Page:
    """Show an artifact, stored or not, and the runs of a period that used it."""
    context = team_pages.context(request, slug, Permission.ANALYTICS)
    version = data_version(reports, context.team, clock)
    query = parse_query(request, context, clock)
    artifact_hash = request.query_params.get("hash", "")
    offset = parse_offset(request)
    return team_pages.render(
        context,
        "artifact.html",
        version=None if offset else version,
        query=query,
        periods=PERIODS,
        page=artifact_reports.artifact(query.report, artifact_hash, _PAGE_SIZE, offset),
        offset=offset,
    )


HANDLERS = (list_artifacts, show_artifact)
