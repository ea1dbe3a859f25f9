"""Reports: `/v1/analytics/…`, `/v1/runs` and `/v1/artifacts`."""

from typing import Annotated, Literal

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.params import (
    PERIOD_QUERY,
    REPORT_QUERY,
    Fresh,
    map_store_errors,
    wait_until_loaded,
)
from hitrate.analytics.period import parse_time_zone
from hitrate.analytics.reports import Reports
from hitrate.api_schemas import (
    ArtifactDetail,
    ArtifactPage,
    Breakdown,
    RunDetail,
    RunPage,
    Summary,
    Timeseries,
)
from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.events.loader import Loader
from hitrate.http.litestar import AnyRequest, raw_path_tail, run_in_thread
from hitrate.http.paging import Cursor, Limit


@get(
    "/v1/analytics/summary",
    operation_id="getAnalyticsSummary",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    dependencies=REPORT_QUERY,
)
@run_in_thread
@map_store_errors()
def get_summary(
    report_query: NamedDependency[ReportQuery], reports: NamedDependency[Reports]
) -> Summary:
    """Runs, tasks, hit rate and time saved of a period, and of the period before it."""
    return reports.summary(report_query)


@get(
    "/v1/analytics/timeseries",
    operation_id="getAnalyticsTimeseries",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    dependencies=REPORT_QUERY,
)
@run_in_thread
@map_store_errors()
def get_timeseries(
    report_query: NamedDependency[ReportQuery],
    reports: NamedDependency[Reports],
    bucket: Annotated[
        Literal["hour", "day", "week", "month"],
        QueryParameter(name="bucket", description="Length of an interval."),
    ] = "day",
    timezone: Annotated[
        str,
        QueryParameter(
            name="timezone",
            description="Time zone in which buckets begin: a name such as Europe/Berlin.",
        ),
    ] = "UTC",
) -> Timeseries:
    """Statistics over time, with the quartiles of the runs' hit rates."""
    return reports.timeseries(report_query, bucket, parse_time_zone(timezone))


@get(
    "/v1/analytics/breakdown",
    operation_id="getAnalyticsBreakdown",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    dependencies=REPORT_QUERY,
)
@run_in_thread
@map_store_errors()
def get_breakdown(
    report_query: NamedDependency[ReportQuery],
    reports: NamedDependency[Reports],
    by: Annotated[
        Literal["ci", "interactive", "agent", "token", "user"],
        QueryParameter(name="by", description="Property by which runs are grouped."),
    ],
) -> Breakdown:
    """Statistics of groups of runs."""
    return reports.breakdown(report_query, by)


@get(
    "/v1/runs",
    operation_id="listRuns",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    dependencies=REPORT_QUERY,
)
@run_in_thread
@map_store_errors()
def list_runs(
    report_query: NamedDependency[ReportQuery],
    reports: NamedDependency[Reports],
    order: Annotated[
        Literal["newest", "best", "worst", "saved", "largest"],
        QueryParameter(
            name="order", description="Sort order: by start, hit rate, time saved or tasks."
        ),
    ] = "newest",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> RunPage:
    """The runs that began in a period."""
    return reports.runs(report_query, order, limit, int(cursor or 0))


@get(
    "/v1/runs/{session:path}",
    operation_id="getRun",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
)
@run_in_thread
@map_store_errors()
def get_run(
    request: AnyRequest,
    session: FromPath[str],  # noqa: ARG001  # reason: documents the parameter
    artifact_reports: NamedDependency[ArtifactReports],
    loader: NamedDependency[Loader],
    limit: Limit = 1000,
    cursor: Cursor = None,
    fresh: Fresh = False,
) -> RunDetail:
    """A run and its tasks: outcome, duration, and the artifact with the run that produced it."""
    if fresh:
        wait_until_loaded(loader)
    team = current_auth(request).team
    return artifact_reports.run(team, raw_path_tail(request), limit, int(cursor or 0))


@get(
    "/v1/artifacts",
    operation_id="listArtifacts",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    dependencies=PERIOD_QUERY,
)
@run_in_thread
@map_store_errors()
def list_artifacts(
    report_query: NamedDependency[ReportQuery],
    artifact_reports: NamedDependency[ArtifactReports],
    order: Annotated[
        Literal["newest", "oldest", "largest", "smallest", "recent", "idle", "hits"],
        QueryParameter(
            name="order",
            description="Sort order: by upload time, size, last use, or hits in the period.",
        ),
    ] = "newest",
    unused: Annotated[
        bool,
        QueryParameter(name="unused", description="Only artifacts without hits in the period."),
    ] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ArtifactPage:
    """The stored artifacts, with their hits in a period."""
    return artifact_reports.artifacts(report_query, order, limit, int(cursor or 0), unused=unused)


@get(
    "/v1/artifacts/{hash:path}",
    operation_id="getArtifact",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    dependencies=PERIOD_QUERY,
)
@run_in_thread
@map_store_errors()
def get_artifact(
    request: AnyRequest,
    hash: FromPath[str],  # noqa: A002, ARG001  # reason: documents the parameter
    report_query: NamedDependency[ReportQuery],
    artifact_reports: NamedDependency[ArtifactReports],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ArtifactDetail:
    """An artifact, its producer, and every use in a period."""
    return artifact_reports.artifact(report_query, raw_path_tail(request), limit, int(cursor or 0))


HANDLERS = (
    get_summary,
    get_timeseries,
    get_breakdown,
    list_runs,
    get_run,
    list_artifacts,
    get_artifact,
)
