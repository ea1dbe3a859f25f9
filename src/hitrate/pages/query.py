"""What a page was asked: the period and filters in its address, as `/v1/analytics/…` takes them."""

from dataclasses import asdict, dataclass
from typing import Any

from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import BUCKETS, DEFAULT_SINCE, parse_period
from hitrate.analytics.reports import FilterOptions, Reports
from hitrate.clock import Clock
from hitrate.errors import BadRequest
from hitrate.http.litestar import AnyRequest
from hitrate.pages.context import Visit

PERIODS = {
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "365d": "365 days",
}

_FILTERS = ("ci", "interactive", "agent", "token")
_DAY_MS = 86_400_000
_BUCKETS = ((2, "hour"), (93, "day"), (400, "week"))


@dataclass(frozen=True, slots=True)
class Question:
    """The period and filters of a page, and the parts of its charts if they were chosen."""

    scope: ReportQuery
    since: str
    until: str | None
    chosen_bucket: str | None = None

    @property
    def bucket(self) -> str:
        """How finely the period's charts are cut."""
        days = (self.scope.period.to_ms - self.scope.period.from_ms) / _DAY_MS
        usual = next((bucket for most, bucket in _BUCKETS if days <= most), "month")
        return self.chosen_bucket or usual

    @property
    def span(self) -> str:
        """The period as one value: `30d`, or its ends when it has two."""
        return self.since if self.until is None else f"{self.since}/{self.until}"

    @property
    def filters(self) -> dict[str, str]:
        """Those that are set."""
        return {name: value for name, value in asdict(self.scope.filters).items() if value}

    @property
    def query(self) -> dict[str, str]:
        """What a link to the same question carries."""
        return {"since": self.span, **self.filters}

    @property
    def words(self) -> str:
        """`30 days before`, for what it is compared with."""
        return f"{PERIODS[self.span]} before" if self.span in PERIODS else "period before"


def question_of(request: AnyRequest, visit: Visit, clock: Clock) -> Question:
    """Raises BadRequest."""
    query = request.query_params
    # One field of a form has one value: so both ends of a period may come as `since/until`.
    since, _, until = query.get("since", "").partition("/")
    since, until = since or DEFAULT_SINCE, query.get("until") or until
    filters = Filters(**{name: query.get(name) or None for name in _FILTERS})
    filters.check()
    span = parse_period(since, until or None, clock.now_ms())
    bucket = query.get("bucket") or None
    if bucket is not None and bucket not in BUCKETS:
        raise BadRequest(f"bucket is {bucket[:40]!a}; send one of {', '.join(BUCKETS)}.")
    return Question(ReportQuery(visit.team.id, span, filters), since, until or None, bucket)


def choices(reports: Reports, question: Question) -> dict[str, Any]:
    """What the filter bar offers."""
    sending: FilterOptions = reports.filter_options(question.scope.team_id)
    offered = {
        "ci": ("CI", _named(sending.ci, "no CI")),
        "interactive": (
            "Shell",
            [("true", "interactive"), ("false", "not interactive"), ("none", "did not say")],
        ),
        "agent": ("Agent", _named(sending.agents, "no agent")),
        "token": ("Token", sending.tokens),
    }
    for name, value in question.filters.items():
        _, known = offered[name]
        if value not in dict(known):  # a page must say by what it is filtered
            known.append((value, value))
    return {"question": question, "periods": PERIODS, "offered": offered}


def _named(names: list[str], none: str) -> list[tuple[str, str]]:
    return [("any", "any"), *((name, name) for name in names if name), ("none", none)]
