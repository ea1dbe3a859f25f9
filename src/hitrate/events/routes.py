"""recordEvents, the hot route: validate, spool, acknowledge."""

from hitrate.accounts.model import Grant
from hitrate.clock import Clock
from hitrate.events import wire
from hitrate.events.spool import Spool
from hitrate.metrics import Metrics
from hitrate.web.asgi import Request, Response
from hitrate.web.client import client_of

_RECORDED = Response(200, b"{}")


class EventRoutes:
    """`POST /v8/artifacts/events`."""

    def __init__(self, spool: Spool, metrics: Metrics, clock: Clock, max_body_bytes: int) -> None:
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    async def record(self, request: Request, grant: Grant) -> Response:
        """Record a batch of events, whole or not at all.

        Acknowledged after the group's flush, not before: a client that saw 200 finds its events
        after a crash. Raises BadRequest, TooLarge, Unavailable.
        """
        client = client_of(request)
        body = await request.body(self._max_body_bytes)
        events = wire.decode_events(body)
        if events:
            batch = wire.Batch(
                team=grant.team.id,
                token=grant.token_id,
                received_at=self._clock.now_ms(),
                ci=client.ci,
                interactive=client.interactive,
                agent=client.agent,
                digest=wire.digest_of(body),
                events=events,
            )
            request.spooled = await self._spool.append(wire.encode_batch(batch))
            request.events = len(events)
            self._metrics.add("hitrate_events_accepted", len(events))
        return _RECORDED
