"""Reading recorded events: `GET /v1/events`."""

from typing import Annotated

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from hitrate.accounts.guard import Needs, grant_of
from hitrate.clock import Clock
from hitrate.errors import Unavailable
from hitrate.events.duckdb import DuckDBEventStore
from hitrate.events.store import EventFilter, EventRecord, StoreAway
from hitrate.web.moments import asked_moment_ms
from hitrate.web.paging import Cursor, Limit


class EventPage(msgspec.Struct, rename="camel"):
    """Some events, newest first. `next_cursor` asks for the ones after them; null at the end."""

    events: list[EventRecord]
    next_cursor: str | None


def event_api(store: DuckDBEventStore, clock: Clock, reads: Needs) -> list[HTTPRouteHandler]:
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
        request: Request[None, None, State],
        session_id: Annotated[
            str | None, QueryParameter(name="sessionId", description="Events of one run.")
        ] = None,
        event_hash: Annotated[
            str | None, QueryParameter(name="hash", description="Events of one artifact.")
        ] = None,
        since: Annotated[
            str | None,
            QueryParameter(name="since", description="ISO 8601, or a length of time such as 7d."),
        ] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> EventPage:
        wanted = EventFilter(
            team_id=grant_of(request).team.id,
            session_id=session_id,
            hash=event_hash,
            since_ms=None if since is None else asked_moment_ms("since", since, clock.now_ms()),
            before=None if cursor is None else int(cursor),
            limit=limit + 1,
        )
        try:
            events = store.events(wanted)
        except StoreAway as error:
            raise Unavailable(f"Events cannot be read now: {error}") from error
        more = len(events) > limit
        page = events[:limit]
        return EventPage(page, str(page[-1].id) if more else None)

    return [list_events]
