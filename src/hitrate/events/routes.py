"""recordEvents, the hot route: validate, spool, acknowledge.

Reading recorded events: `GET /v1/events`.
"""

from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from hitrate.auth.guards import RequirePermission, current_auth
from hitrate.auth.models import AuthContext, Permission
from hitrate.auth.routes import AnyRoute, Route
from hitrate.clock import Clock
from hitrate.errors import EventStoreUnavailable, ServiceUnavailable
from hitrate.events import wire
from hitrate.events.models import EventFilter, EventRecord
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.http.asgi import Request, Response, Usage
from hitrate.http.client_info import ClientInfo
from hitrate.http.litestar import AnyRequest
from hitrate.http.paging import Cursor, Limit
from hitrate.metrics import Metrics
from hitrate.timeparse import parse_time_param

_NO_EVENTS = Response(200, b"{}")


class EventRoutes:
    """`POST /v8/artifacts/events`."""

    def __init__(self, spool: Spool, metrics: Metrics, clock: Clock, max_body_bytes: int) -> None:
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[AnyRoute]:
        """The event operations of `/v8/artifacts`."""
        path = "/v8/artifacts/events"
        return [Route("POST", path, "recordEvents", Permission.EVENTS, self.record)]

    async def record(self, request: Request, auth: AuthContext) -> Response:
        """Record a batch of events, whole or not at all.

        Acknowledged after the group's flush, not before: a client that saw 200 finds its events
        after a crash. Raises BadRequest, PayloadTooLarge, ServiceUnavailable.
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
    """Some events, newest first. `next_cursor` asks for the ones after them; null at the end."""

    events: list[EventRecord]
    next_cursor: str | None


def event_api(
    store: DuckDBEventStore, clock: Clock, reads: RequirePermission
) -> list[HTTPRouteHandler]:
    """The routes of this room."""

    @get(
        "/v1/events",
        operation_id="listEvents",
        summary="List recorded events, newest first",
        tags=["events"],
        guards=[reads],
        sync_to_thread=True,
    )
    def list_events(
        request: AnyRequest,
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
        wanted = EventFilter(
            team_id=current_auth(request).team.id,
            session_id=session_id,
            hash=event_hash,
            since_ms=None if since is None else parse_time_param("since", since, clock.now_ms()),
            before=None if cursor is None else int(cursor),
            limit=limit + 1,
        )
        try:
            events = store.events(wanted)
        except EventStoreUnavailable as error:
            raise ServiceUnavailable(f"Events cannot be read now: {error}") from error
        more = len(events) > limit
        page = events[:limit]
        return EventPage(page, str(page[-1].id) if more else None)

    return [list_events]
