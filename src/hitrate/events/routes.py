"""Routes of events: `POST /v8/artifacts/events` records them, `GET /v1/events` lists them."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from hitrate.auth.guards import current_auth
from hitrate.auth.models import AuthContext, Permission
from hitrate.auth.route_types import AnyRoute, Route
from hitrate.clock import Clock
from hitrate.errors import EventStoreUnavailable, ServiceUnavailable
from hitrate.events import wire
from hitrate.events.models import EventFilter, EventRecord
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.http.asgi import Request, Response, Usage
from hitrate.http.client_info import ClientInfo
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.paging import Cursor, Limit, take_page
from hitrate.metrics import Metrics
from hitrate.timeparse import parse_time_param

_NO_EVENTS = Response(200, b"{}")


class EventRoutes:
    """The contract route recordEvents. It is on the hot path, so the router calls it directly."""

    def __init__(self, spool: Spool, metrics: Metrics, clock: Clock, max_body_bytes: int) -> None:
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[AnyRoute]:
        """Return the routes for the router."""
        path = "/v8/artifacts/events"
        return [Route("POST", path, "recordEvents", Permission.EVENTS, self.record)]

    async def record(self, request: Request, auth: AuthContext) -> Response:
        """Record a batch of events: all of them or none.

        The response is sent after the batch is flushed to disk, so acknowledged events survive a
        crash. Raises BadRequest, PayloadTooLarge, ServiceUnavailable.
        """
        client = ClientInfo.from_headers(request)
        body = await request.body(self._max_body_bytes)
        events = wire.decode_events(body)
        if events:
            batch = wire.Batch(
                team=auth.team.id,
                token=auth.token_id,
                received_at=self._clock.now_ms(),
                ci=client.ci,
                interactive=client.interactive,
                agent=client.agent,
                digest=wire.digest(body),
                events=events,
            )
            position = await self._spool.append(wire.encode_batch(batch))
            self._metrics.add("hitrate_events_accepted", len(events))
            usage = Usage(events=len(events), spool_position=position)
            return Response(200, b"{}", usage=usage)
        return _NO_EVENTS


class EventPage(msgspec.Struct, rename="camel"):
    """A page of events, newest first. `next_cursor` is null on the last page."""

    events: list[EventRecord]
    next_cursor: str | None


@get("/v1/events", operation_id="listEvents", tags=["events"], permission=Permission.ANALYTICS)
@run_in_thread
def list_events(
    request: AnyRequest,
    event_store: NamedDependency[DuckDBEventStore],
    clock: NamedDependency[Clock],
    session_id: Annotated[
        str | None, QueryParameter(name="sessionId", description="Events of one run.")
    ] = None,
    event_hash: Annotated[
        str | None, QueryParameter(name="hash", description="Events of one artifact.")
    ] = None,
    since: Annotated[
        str | None,
        QueryParameter(name="since", description="ISO 8601, or a duration such as 7d."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> EventPage:
    """List recorded events, newest first."""
    event_filter = EventFilter(
        team_id=current_auth(request).team.id,
        session_id=session_id,
        hash=event_hash,
        since_ms=None if since is None else parse_time_param("since", since, clock.now_ms()),
        before=None if cursor is None else int(cursor),
        limit=limit + 1,
    )
    try:
        events = event_store.events(event_filter)
    except EventStoreUnavailable as error:
        raise ServiceUnavailable(f"Events cannot be read now: {error}") from error
    return EventPage(*take_page(events, limit, lambda event: event.id))


HANDLERS = (list_events,)
