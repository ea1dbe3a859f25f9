"""Admission of requests to the cache: authorization, quota check and metering."""

import asyncio

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import AuthContext, Permission
from hitrate.auth.throttle import AttemptThrottle
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.clock import Clock
from hitrate.errors import ServiceUnavailable
from hitrate.http.asgi import Request, Response, Scope
from hitrate.teams.models import Team

_NOT_FOUND = 404

_GUESSES_FREE = 500
_GUESS_WAIT_S = 0.1
_GUESS_WAIT_MOST_S = 1.0
_GUESS_WINDOW_S = 60.0


class _Tally:
    """What one team used in one turn of the event loop."""

    __slots__ = ("downloaded", "events", "requests", "spooled", "team", "uploaded")

    def __init__(self, team: Team) -> None:
        self.team = team
        self.requests = 0
        self.uploaded = 0
        self.downloaded = 0
        self.events = 0
        self.spooled: tuple[str, int] | None = None


class Admission:
    """For the operations of the contract; what manages a team works in each of its states."""

    def __init__(
        self, authorizer: Authorizer, standing: QuotaEnforcer, meter: Meter, clock: Clock
    ) -> None:
        self._authorizer = authorizer
        self._standing = standing
        self._meter = meter
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}
        self._counted: asyncio.Future[None] | None = None
        self._guesses = AttemptThrottle(
            _GUESSES_FREE, _GUESS_WAIT_S, _GUESS_WAIT_MOST_S, _GUESS_WINDOW_S
        )

    def admit(self, request: Request, access: Permission) -> AuthContext:
        """Raises whatever the caller is refused for. Only `status` answers in every state."""
        authorization = request.headers.get(b"authorization")
        auth = self._authorizer.authorize(authorization, request.query_string, access)
        if access is not Permission.STATUS:
            self._standing.check(auth)
        return auth

    async def meter(
        self, request: Request, access: Permission, auth: AuthContext, response: Response
    ) -> None:
        """Return when a request that is answered is counted; one that was refused, and `status`,
        are free. Raises ServiceUnavailable."""
        if access is Permission.STATUS or not (
            response.status < 300 or response.status == _NOT_FOUND
        ):
            return
        tally = self._tallies.get(auth.team.id)
        if tally is None:
            tally = self._tallies[auth.team.id] = _Tally(auth.team)
        tally.requests += 1
        tally.uploaded += request.uploaded_bytes
        tally.downloaded += response.sent_at_once
        tally.events += request.events
        if request.spooled is not None:
            tally.spooled = max(tally.spooled or request.spooled, request.spooled)
        if self._counted is None:
            loop = asyncio.get_running_loop()
            self._counted = loop.create_future()
            loop.call_soon(self._count)
        await self._counted

    def _count(self) -> None:
        """All that were answered in one turn of the event loop, with one write a team."""
        tallies, self._tallies = self._tallies, {}
        counted, self._counted = self._counted, None
        error: ServiceUnavailable | None = None
        for tally in tallies.values():
            try:
                self._meter.count(
                    tally.team,
                    requests=tally.requests,
                    uploaded=tally.uploaded,
                    downloaded=tally.downloaded,
                    events=tally.events,
                    spooled=tally.spooled,
                )
            except ServiceUnavailable as raised:
                error = raised
        if counted is not None:
            if error is None:
                counted.set_result(None)
            else:
                counted.set_exception(error)

    def meter_piece(self, auth: AuthContext | None, sent_bytes: int) -> None:
        """Count a piece of a large file that goes out, if to somebody who was admitted."""
        if auth is not None:
            self._meter.count(auth.team, downloaded=sent_bytes)

    async def slow_down(self, scope: Scope) -> None:
        """Let whoever tries one bad token after the other wait."""
        client = scope.get("client")
        address, now_ms = str(client[0]) if client else "", self._clock.now_ms()
        self._guesses.fail(address, now_ms)
        wait_s = self._guesses.wait_s(address, now_ms)
        if wait_s:
            await asyncio.sleep(wait_s)
