"""What the routes of this room share: their query parameters, and the parts they work with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from litestar import Request
from litestar.datastructures import State
from litestar.params import QueryParameter

from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import period
from hitrate.analytics.reports import Reports
from hitrate.auth.guards import RequirePermission, current_auth
from hitrate.clock import Clock
from hitrate.errors import EventStoreUnavailable, ServiceUnavailable
from hitrate.events.loader import Loader

AnyRequest = Request[None, None, State]

PATIENCE_S = 5.0
"""How long a request that asks for fresh numbers waits for them."""

_MOMENT = "ISO 8601, or a duration such as 7d."
_SAYS = "A name; any for runs that said one, none for those that did not."

Since = Annotated[
    str | None, QueryParameter(name="since", description=f"{_MOMENT} 30d when left out.")
]
Until = Annotated[
    str | None, QueryParameter(name="until", description=f"{_MOMENT} Now when left out.")
]
Ci = Annotated[str | None, QueryParameter(name="ci", description=_SAYS)]
Agent = Annotated[str | None, QueryParameter(name="agent", description=_SAYS)]
Interactive = Annotated[
    Literal["true", "false", "any", "none"] | None,
    QueryParameter(name="interactive", description="true, false, any, or none that said so."),
]
TokenId = Annotated[
    str | None,
    QueryParameter(name="token", description="The id of a token; current for the one in use."),
]
Fresh = Annotated[
    bool,
    QueryParameter(name="fresh", description="Wait until all events so far are counted."),
]


@dataclass(frozen=True, slots=True)
class AnalyticsService:
    """The parts that routes work with."""

    reports: Reports
    cache: ArtifactReports
    loader: Loader
    clock: Clock
    reads: RequirePermission

    @property
    def route(self) -> dict[str, Any]:
        """What every handler is made with."""
        return {"tags": ["analytics"], "guards": [self.reads], "sync_to_thread": True}

    def catch_up(self, fresh: bool) -> None:
        """Wait, if that is wanted, for what was acknowledged before this moment to be counted.

        Raises ServiceUnavailable when it is not.
        """
        if fresh and not self.loader.catch_up(PATIENCE_S):
            raise ServiceUnavailable("Not all events are counted yet; ask again in a moment.")

    def scope(
        self,
        request: AnyRequest,
        since: str | None,
        until: str | None,
        ci: str | None = None,
        interactive: str | None = None,
        agent: str | None = None,
        token: str | None = None,
    ) -> ReportQuery:
        """The runs that a request is about. Raises BadRequest."""
        auth = current_auth(request)
        if token == "current":  # noqa: S105  # reason: a word, no secret
            token = auth.token_id
        filters = Filters(ci, interactive, agent, token)
        filters.check()
        return ReportQuery(auth.team.id, period(since, until, self.clock.now_ms()), filters)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns a store that is away into ServiceUnavailable."""
        try:
            yield
        except EventStoreUnavailable as error:
            raise ServiceUnavailable(f"Reports cannot be made now: {error}") from error
