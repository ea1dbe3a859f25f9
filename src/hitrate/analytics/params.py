"""Query parameters of the analytics API, and the dependencies that parse them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal

from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import parse_period
from hitrate.auth.guards import current_auth
from hitrate.clock import Clock
from hitrate.errors import EventStoreUnavailable, ServiceUnavailable
from hitrate.events.loader import Loader
from hitrate.http.litestar import AnyRequest

FRESH_TIMEOUT_S = 5.0
"""How long a request with `fresh` waits until the events so far are loaded."""

_TIME = "ISO 8601, or a duration before now such as 7d."
_CLIENT_NAME = "A name; any for runs that reported one, none for those that did not."

Since = Annotated[str | None, QueryParameter(name="since", description=f"{_TIME} Default: 30d.")]
ExportSince = Annotated[
    str | None, QueryParameter(name="since", description=f"{_TIME} Default: everything.")
]
Until = Annotated[str | None, QueryParameter(name="until", description=f"{_TIME} Default: now.")]
Ci = Annotated[str | None, QueryParameter(name="ci", description=_CLIENT_NAME)]
Agent = Annotated[str | None, QueryParameter(name="agent", description=_CLIENT_NAME)]
Interactive = Annotated[
    Literal["true", "false", "any", "none"] | None,
    QueryParameter(
        name="interactive",
        description="true or false; any for runs that reported it, none for those that did not.",
    ),
]
TokenId = Annotated[
    str | None,
    QueryParameter(name="token", description="A token id; current for the token in use."),
]
Fresh = Annotated[
    bool, QueryParameter(name="fresh", description="Wait until all events so far are counted.")
]

_EPOCH = "1970-01-01"


async def create_report_query(
    request: AnyRequest,
    clock: NamedDependency[Clock],
    loader: NamedDependency[Loader],
    since: Since = None,
    until: Until = None,
    ci: Ci = None,
    interactive: Interactive = None,
    agent: Agent = None,
    token: TokenId = None,
    fresh: Fresh = False,
) -> ReportQuery:
    """Create the query of a report on runs. Raises BadRequest or ServiceUnavailable."""
    filters = Filters(ci, interactive, agent, token)
    return await _create(request, clock, loader, since, until, filters, fresh=fresh)


async def create_period_query(
    request: AnyRequest,
    clock: NamedDependency[Clock],
    loader: NamedDependency[Loader],
    since: Since = None,
    until: Until = None,
    fresh: Fresh = False,
) -> ReportQuery:
    """Create the query of a report on artifacts. Raises BadRequest or ServiceUnavailable."""
    return await _create(request, clock, loader, since, until, Filters(), fresh=fresh)


async def create_export_query(
    request: AnyRequest,
    clock: NamedDependency[Clock],
    loader: NamedDependency[Loader],
    since: ExportSince = None,
    until: Until = None,
    ci: Ci = None,
    interactive: Interactive = None,
    agent: Agent = None,
    token: TokenId = None,
    fresh: Fresh = False,
) -> ReportQuery:
    """Create the query of an export of events or runs."""
    filters = Filters(ci, interactive, agent, token)
    return await _create(request, clock, loader, since or _EPOCH, until, filters, fresh=fresh)


async def create_export_period_query(
    request: AnyRequest,
    clock: NamedDependency[Clock],
    loader: NamedDependency[Loader],
    since: ExportSince = None,
    until: Until = None,
    fresh: Fresh = False,
) -> ReportQuery:
    """Create the query of an export of artifacts."""
    return await _create(request, clock, loader, since or _EPOCH, until, Filters(), fresh=fresh)


REPORT_QUERY = {"report_query": Provide(create_report_query)}
PERIOD_QUERY = {"report_query": Provide(create_period_query)}
EXPORT_QUERY = {"report_query": Provide(create_export_query)}
EXPORT_PERIOD_QUERY = {"report_query": Provide(create_export_period_query)}


async def _create(
    request: AnyRequest,
    clock: Clock,
    loader: Loader,
    since: str | None,
    until: str | None,
    filters: Filters,
    *,
    fresh: bool,
) -> ReportQuery:
    if fresh:
        await sync_to_thread(wait_until_loaded, loader)
    auth = current_auth(request)
    if filters.token == "current":  # noqa: S105  # reason: a keyword, not a secret
        filters = replace(filters, token=auth.token_id)
    filters.check()
    return ReportQuery(auth.team.id, parse_period(since, until, clock.now_ms()), filters)


def wait_until_loaded(loader: Loader) -> None:
    """Wait until every event acknowledged before this call is loaded.

    Raises ServiceUnavailable after FRESH_TIMEOUT_S.
    """
    if not loader.catch_up(FRESH_TIMEOUT_S):
        raise ServiceUnavailable("Not all events are loaded yet; try again in a moment.")


@contextmanager
def map_store_errors() -> Iterator[None]:
    """Raise EventStoreUnavailable as ServiceUnavailable."""
    try:
        yield
    except EventStoreUnavailable as error:
        raise ServiceUnavailable(f"Reports are unavailable: {error}") from error
