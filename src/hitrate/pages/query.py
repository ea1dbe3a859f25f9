"""The query string of a page: period and filters, with the same parameters as the analytics API."""

from dataclasses import asdict, dataclass
from typing import Any

from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import BUCKETS, DEFAULT_SINCE, parse_period
from hitrate.analytics.reports import Reports
from hitrate.clock import Clock
from hitrate.errors import BadRequest
from hitrate.http.litestar import AnyRequest
from hitrate.pages.context import PageContext

PERIODS = {
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "365d": "365 days",
}

_FILTERS = ("ci", "interactive", "agent", "token")
_DAY_MS = 86_400_000
_BUCKETS_BY_MAX_DAYS = ((2, "hour"), (93, "day"), (400, "week"))
_MAX_CURSOR_DIGITS = 18

Choice = tuple[str, str]
"""The value of a form field and its label."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The period and filters of a page, and the interval of its charts if one was chosen."""

    report: ReportQuery
    since: str
    until: str | None
    chosen_bucket: str | None = None

    @property
    def bucket(self) -> str:
        """The interval of the charts: the chosen one, or one that suits the period."""
        if self.chosen_bucket:
            return self.chosen_bucket
        days = (self.report.period.to_ms - self.report.period.from_ms) / _DAY_MS
        return next((name for limit, name in _BUCKETS_BY_MAX_DAYS if days <= limit), "month")

    @property
    def period_param(self) -> str:
        """The period as one value: `30d`, or `since/until`."""
        return self.since if self.until is None else f"{self.since}/{self.until}"

    @property
    def filters(self) -> dict[str, str]:
        """The filters that are set, by parameter name."""
        return {name: value for name, value in asdict(self.report.filters).items() if value}

    @property
    def params(self) -> dict[str, str]:
        """The parameters of a link to a page with the same period and filters."""
        return {"since": self.period_param, **self.filters}

    @property
    def previous_period(self) -> str:
        """The name of the period that this one is compared with: `previous 30 days`."""
        return f"previous {PERIODS.get(self.period_param, 'period')}"


def parse_query(request: AnyRequest, context: PageContext, clock: Clock) -> PageQuery:
    """Read the period, filters and interval from a page's URL. Raises BadRequest."""
    params = request.query_params
    # A form field has one value, so a period with two ends arrives as `since/until`.
    since, _, until = params.get("since", "").partition("/")
    since, until = since or DEFAULT_SINCE, params.get("until") or until
    filters = Filters(**{name: params.get(name) or None for name in _FILTERS})
    filters.check()
    span = parse_period(since, until or None, clock.now_ms())
    bucket = params.get("bucket") or None
    if bucket is not None and bucket not in BUCKETS:
        raise BadRequest(f"bucket is {bucket[:40]!a}; send one of {', '.join(BUCKETS)}.")
    return PageQuery(ReportQuery(context.team.id, span, filters), since, until or None, bucket)


def parse_order(request: AnyRequest, orders: dict[str, str], default: str) -> str:
    """Read the order of a list from a page's URL. Raises BadRequest."""
    order = request.query_params.get("order") or default
    if order not in orders:
        raise BadRequest(f"order is {order[:40]!a}; send one of {', '.join(orders)}.")
    return order


def parse_offset(request: AnyRequest) -> int:
    """Read the number of list entries to skip from a page's URL. Raises BadRequest."""
    cursor = request.query_params.get("cursor") or "0"
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MAX_CURSOR_DIGITS):
        raise BadRequest(f"cursor is {cursor[:40]!a}; open the first page of the list instead.")
    return int(cursor)


def filter_bar(reports: Reports, query: PageQuery) -> dict[str, Any]:
    """Return the template values of the filter bar: the query, and the choices of each filter."""
    options = reports.filter_options(query.report.team_id)
    terminals = [
        ("true", "Interactive"),
        ("false", "Non-interactive"),
        ("none", "Unknown"),
    ]
    filters: dict[str, tuple[str, str, list[Choice]]] = {
        "ci": ("CI", "All runs", _choices("Any CI", options.ci, "Local only")),
        "interactive": ("Terminal", "All runs", terminals),
        "agent": ("Agent", "All runs", _choices("Any agent", options.agents, "No agent")),
        "token": ("Token", "All tokens", list(options.tokens)),
    }
    for name, value in query.filters.items():
        _, _, choices = filters[name]
        if value not in dict(choices):  # the bar must display every filter that is set
            choices.append((value, value))
    return {"query": query, "periods": PERIODS, "filters": filters}


def _choices(any_label: str, names: list[str], none_label: str) -> list[Choice]:
    return [("any", any_label), *((name, name) for name in names if name), ("none", none_label)]
