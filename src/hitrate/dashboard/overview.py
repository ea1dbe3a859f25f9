"""The overview: what a team's cache did in a period, in numbers and charts."""

from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.accounts.model import Access
from hitrate.analytics.shown import Bucket, Timeseries
from hitrate.dashboard import charts, words
from hitrate.dashboard.frame import Dashboard, Visit, team_link
from hitrate.dashboard.question import Question, choices, question_of
from hitrate.login.addresses import HOME
from hitrate.login.desk import in_thread
from hitrate.login.guard import session_of
from hitrate.login.pages import Page
from hitrate.web.framework import AnyRequest

_LISTED = 5
_PULSE_MS = 86_400_000


def overview_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/", **dashboard.page)
    @in_thread
    def start(request: AnyRequest) -> Page:
        """To the overview of a person's first team, or the first page that their role sees."""
        members = dashboard.desk.accounts.members.of_user(session_of(request).user)
        for member in sorted(members, key=lambda member: member.team.slug):
            visit = dashboard.visit(request, member.team.slug, Access.TEAM)
            page = "" if Access.ANALYTICS in visit.access else "/usage"
            return dashboard.desk.pages.send(team_link(member.team.slug, page))
        return dashboard.desk.pages.send(HOME)

    @get("/teams/{slug:str}", **dashboard.page)
    @in_thread
    def overview(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Access.ANALYTICS)
        question = question_of(request, visit, dashboard.clock)
        if dashboard.reports.pulse(visit.team.id, 0) == (0, 0):
            return dashboard.show(visit, "empty.html", **_lines(dashboard, visit))
        return dashboard.show(visit, "overview.html", **_overview(dashboard, visit, question))

    @get("/teams/{slug:str}/pulse", **dashboard.page)
    @in_thread
    def pulse(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
        """Changes when what pages show may have; they ask for it every few seconds."""
        visit = dashboard.visit(request, slug, Access.ANALYTICS)
        since_ms = dashboard.clock.now_ms() - _PULSE_MS
        runs, events = dashboard.reports.pulse(visit.team.id, since_ms)
        return Response(
            f"{runs}-{events}", media_type="text/plain", headers={"cache-control": "no-store"}
        )

    return [start, overview, pulse]


def _lines(dashboard: Dashboard, visit: Visit) -> dict[str, Any]:
    return {"url": dashboard.desk.site.url(visit.request)}


def _overview(dashboard: Dashboard, visit: Visit, question: Question) -> dict[str, Any]:
    reports, scope = dashboard.reports, question.scope
    series = reports.timeseries(scope, question.bucket, visit.zone)
    return {
        **choices(reports, question),
        "summary": reports.summary(scope),
        "series": series,
        "drawings": _drawings(visit, question, series),
        "breakdowns": [reports.breakdown(scope, by) for by in ("ci", "interactive", "agent")],
        "best": reports.runs(scope, "best", _LISTED, 0).runs,
        "worst": reports.runs(scope, "worst", _LISTED, 0).runs,
    }


def _drawings(visit: Visit, question: Question, series: Timeseries) -> dict[str, charts.Drawing]:
    def points(values: Any, says: Any) -> list[charts.Point]:
        return [
            charts.Point(
                name=words.bucket_name(bucket.from_, series.bucket, visit.zone),
                label=words.bucket_label(bucket.from_, series.bucket, visit.zone),
                says=says(bucket),
                link=visit.link("/runs", **question.filters, since=bucket.from_, until=bucket.to),
                values=values(bucket),
            )
            for bucket in series.buckets
        ]

    return {
        "rate": charts.rates(points(_rate, _rate_in_words)),
        "outcomes": charts.bars(points(_outcomes, _outcomes_in_words), OUTCOMES),
        "saved": charts.bars(points(_saved, _saved_in_words), SAVED, charts.nice_span),
    }


OUTCOMES = ("local", "remote", "miss")
SAVED = ("local", "remote")


def _rate(bucket: Bucket) -> tuple[float | None, ...]:
    bands = bucket.hit_rate_bands
    return (bucket.hit_rate, bands.p25, bands.p75)


def _rate_in_words(bucket: Bucket) -> str:
    if bucket.hit_rate is None:
        return "no tasks"
    bands = bucket.hit_rate_bands
    return (
        f"hit rate {words.percent(bucket.hit_rate)}; half of the runs between "
        f"{words.percent(bands.p25)} and {words.percent(bands.p75)}"
    )


def _outcomes(bucket: Bucket) -> tuple[float | None, ...]:
    return (bucket.local_hits, bucket.remote_hits, bucket.misses)


def _outcomes_in_words(bucket: Bucket) -> str:
    return (
        f"{words.number(bucket.local_hits)} local hits, {words.number(bucket.remote_hits)} remote "
        f"hits, {words.number(bucket.misses)} misses"
    )


def _saved(bucket: Bucket) -> tuple[float | None, ...]:
    return (bucket.time_saved_ms.local, bucket.time_saved_ms.remote)


def _saved_in_words(bucket: Bucket) -> str:
    saved = bucket.time_saved_ms
    return (
        f"{words.duration(saved.local)} saved by local hits, {words.duration(saved.remote)} by "
        "remote hits"
    )
