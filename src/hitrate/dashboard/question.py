"""What a page was asked: the period and the filters in its address, as `/v1/usage/…` takes them."""

from dataclasses import asdict, dataclass
from typing import Any

from hitrate.analytics.filters import Filters, Scope
from hitrate.analytics.period import USUAL_SINCE, Period, period
from hitrate.analytics.reports import Reports, Sending
from hitrate.clock import Clock
from hitrate.dashboard.frame import Visit
from hitrate.web.framework import AnyRequest

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
    """The period and filters of a page."""

    scope: Scope
    since: str
    until: str | None

    @property
    def bucket(self) -> str:
        """How finely the period's charts are cut."""
        days = (self.scope.period.to_ms - self.scope.period.from_ms) / _DAY_MS
        return next((bucket for most, bucket in _BUCKETS if days <= most), "month")

    @property
    def filters(self) -> dict[str, str]:
        """Those that are set."""
        return {name: value for name, value in asdict(self.scope.filters).items() if value}

    @property
    def query(self) -> dict[str, str]:
        """What a link to the same question carries."""
        until = {} if self.until is None else {"until": self.until}
        return {"since": self.since, **until, **self.filters}

    @property
    def words(self) -> str:
        """`30 days`, for headings."""
        return PERIODS.get(self.since, "this period") if self.until is None else "this period"


def question_of(request: AnyRequest, visit: Visit, clock: Clock) -> Question:
    """Raises BadRequest."""
    query = request.query_params
    since, until = query.get("since") or USUAL_SINCE, query.get("until") or None
    filters = Filters(**{name: query.get(name) or None for name in _FILTERS})
    filters.check()
    span: Period = period(since, until, clock.now_ms())
    return Question(Scope(visit.team.id, span, filters), since, until)


def choices(reports: Reports, question: Question) -> dict[str, Any]:
    """What the filter bar offers."""
    sending: Sending = reports.sending(question.scope.team_id)
    return {
        "question": question,
        "periods": PERIODS,
        "offered": {
            "ci": ("CI", _named(sending.ci, "no CI")),
            "interactive": (
                "Shell",
                [("true", "interactive"), ("false", "not interactive"), ("none", "did not say")],
            ),
            "agent": ("Agent", _named(sending.agents, "no agent")),
            "token": ("Token", [(token, label) for token, label in sending.tokens]),
        },
    }


def _named(names: list[str], none: str) -> list[tuple[str, str]]:
    return [("any", "any"), *((name, name) for name in names), ("none", none)]
