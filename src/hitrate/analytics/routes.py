"""The routes of this room but the exports: `/v1/analytics/…`, `/v1/runs` and `/v1/artifacts`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from hitrate.analytics.params import (
    Agent,
    AnalyticsService,
    AnyRequest,
    Ci,
    Fresh,
    Interactive,
    Since,
    TokenId,
    Until,
)
from hitrate.analytics.period import time_zone
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
from hitrate.http.litestar import raw_path_tail
from hitrate.http.paging import Cursor, Limit

TimeZone = Annotated[
    str,
    QueryParameter(
        name="timezone", description="Where buckets begin: a name such as Europe/Berlin."
    ),
]


def analytics_api(analyst: AnalyticsService) -> Sequence[HTTPRouteHandler]:
    """The routes of this file."""
    return [*_usage_api(analyst), *_run_api(analyst), *_artifact_api(analyst)]


def _usage_api(analyst: AnalyticsService) -> list[HTTPRouteHandler]:
    @get("/v1/analytics/summary", operation_id="getAnalyticsSummary", **analyst.route)
    def summary(
        request: AnyRequest,
        since: Since = None,
        until: Until = None,
        ci: Ci = None,
        interactive: Interactive = None,
        agent: Agent = None,
        token: TokenId = None,
        fresh: Fresh = False,
    ) -> Summary:
        """Runs, tasks, hit rate and time saved of a period, and of the period before it."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since, until, ci, interactive, agent, token)
        with analyst.reading():
            return analyst.reports.summary(scope)

    @get("/v1/analytics/timeseries", operation_id="getAnalyticsTimeseries", **analyst.route)
    def timeseries(
        request: AnyRequest,
        bucket: Annotated[
            Literal["hour", "day", "week", "month"],
            QueryParameter(name="bucket", description="How long a part of the period is."),
        ] = "day",
        timezone: TimeZone = "UTC",
        since: Since = None,
        until: Until = None,
        ci: Ci = None,
        interactive: Interactive = None,
        agent: Agent = None,
        token: TokenId = None,
        fresh: Fresh = False,
    ) -> Timeseries:
        """The measures over time, with the bands in which the runs' hit rates lie."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since, until, ci, interactive, agent, token)
        zone = time_zone(timezone)
        with analyst.reading():
            return analyst.reports.timeseries(scope, bucket, zone)

    @get("/v1/analytics/breakdown", operation_id="getAnalyticsBreakdown", **analyst.route)
    def breakdown(
        request: AnyRequest,
        by: Annotated[
            Literal["ci", "interactive", "agent", "token", "user"],
            QueryParameter(name="by", description="What the runs of a group have in common."),
        ],
        since: Since = None,
        until: Until = None,
        ci: Ci = None,
        interactive: Interactive = None,
        agent: Agent = None,
        token: TokenId = None,
        fresh: Fresh = False,
    ) -> Breakdown:
        """The measures of groups of runs."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since, until, ci, interactive, agent, token)
        with analyst.reading():
            return analyst.reports.breakdown(scope, by)

    return [summary, timeseries, breakdown]


def _run_api(analyst: AnalyticsService) -> list[HTTPRouteHandler]:
    @get("/v1/runs", operation_id="listRuns", **analyst.route)
    def runs(
        request: AnyRequest,
        order: Annotated[
            Literal["newest", "best", "worst", "saved", "largest"],
            QueryParameter(name="order", description="What comes first."),
        ] = "newest",
        limit: Limit = 100,
        cursor: Cursor = None,
        since: Since = None,
        until: Until = None,
        ci: Ci = None,
        interactive: Interactive = None,
        agent: Agent = None,
        token: TokenId = None,
        fresh: Fresh = False,
    ) -> RunPage:
        """The runs that began in a period."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since, until, ci, interactive, agent, token)
        with analyst.reading():
            return analyst.reports.runs(scope, order, limit, int(cursor or 0))

    @get("/v1/runs/{session:path}", operation_id="getRun", **analyst.route)
    def run(
        request: AnyRequest,
        session: FromPath[str],  # noqa: ARG001  # reason: for the documentation
        limit: Limit = 1000,
        cursor: Cursor = None,
        fresh: Fresh = False,
    ) -> RunDetail:
        """A run and its tasks: outcome, duration, and the artifact with the run that made it."""
        analyst.catch_up(fresh)
        team = current_auth(request).team
        with analyst.reading():
            return analyst.cache.run(team, raw_path_tail(request), limit, int(cursor or 0))

    return [runs, run]


def _artifact_api(analyst: AnalyticsService) -> list[HTTPRouteHandler]:
    @get("/v1/artifacts", operation_id="listArtifacts", **analyst.route)
    def artifacts(
        request: AnyRequest,
        order: Annotated[
            Literal["newest", "oldest", "largest", "smallest", "recent", "idle", "hits"],
            QueryParameter(
                name="order",
                description="What comes first, by age, size, last use, or hits in the period.",
            ),
        ] = "newest",
        unused: Annotated[
            bool,
            QueryParameter(name="unused", description="Only those without hits in the period."),
        ] = False,
        limit: Limit = 100,
        cursor: Cursor = None,
        since: Since = None,
        until: Until = None,
        fresh: Fresh = False,
    ) -> ArtifactPage:
        """The artifacts that are stored, with their hits in the period."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since, until)
        with analyst.reading():
            return analyst.cache.artifacts(scope, order, limit, int(cursor or 0), unused=unused)

    @get("/v1/artifacts/{hash:path}", operation_id="getArtifact", **analyst.route)
    def artifact(
        request: AnyRequest,
        hash: FromPath[str],  # noqa: A002, ARG001  # reason: for the documentation
        limit: Limit = 100,
        cursor: Cursor = None,
        since: Since = None,
        until: Until = None,
        fresh: Fresh = False,
    ) -> ArtifactDetail:
        """An artifact: who made it, and every use in the period."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since, until)
        with analyst.reading():
            return analyst.cache.artifact(scope, raw_path_tail(request), limit, int(cursor or 0))

    return [artifacts, artifact]
