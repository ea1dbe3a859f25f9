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

_AUTH_FAILURE_FREE_ATTEMPTS = 500
_AUTH_FAILURE_BASE_DELAY_S = 0.1
_AUTH_FAILURE_MAX_DELAY_S = 1.0
_AUTH_FAILURE_WINDOW_S = 60.0


class _UsageDelta:
    """Usage of one team within one iteration of the event loop."""

    __slots__ = ("downloaded", "events", "requests", "spool_position", "team", "uploaded")

    def __init__(self, team: Team) -> None:
        self.team = team
        self.requests = 0
        self.uploaded = 0
        self.downloaded = 0
        self.events = 0
        self.spool_position: tuple[str, int] | None = None


class Admission:
    """Authorizes and meters the operations of `/v8/artifacts`.

    Management routes do not pass through it: they work in every team state and are not metered.
    """

    def __init__(
        self, authorizer: Authorizer, quotas: QuotaEnforcer, meter: Meter, clock: Clock
    ) -> None:
        self._authorizer = authorizer
        self._quotas = quotas
        self._meter = meter
        self._clock = clock
        self._deltas: dict[str, _UsageDelta] = {}
        self._flushed: asyncio.Future[None] | None = None
        self._auth_failures = AttemptThrottle(
            _AUTH_FAILURE_FREE_ATTEMPTS,
            _AUTH_FAILURE_BASE_DELAY_S,
            _AUTH_FAILURE_MAX_DELAY_S,
            _AUTH_FAILURE_WINDOW_S,
        )

    def authorize(self, request: Request, permission: Permission) -> AuthContext:
        """Authenticate and authorize the caller, and check the team's quota.

        `status` skips the quota check: it reports the team's state. Raises Unauthorized,
        Forbidden, PaymentRequired, RateLimited or one of the Caching errors.
        """
        authorization = request.headers.get(b"authorization")
        auth = self._authorizer.authorize(authorization, request.query_string, permission)
        if permission is not Permission.STATUS:
            self._quotas.check(auth)
        return auth

    async def meter(self, permission: Permission, auth: AuthContext, response: Response) -> None:
        """Return when the usage of a successful request is metered.

        Rejected requests and `status` are free. Raises ServiceUnavailable.
        """
        if permission is Permission.STATUS or not (
            response.status < 300 or response.status == _NOT_FOUND
        ):
            return
        delta = self._deltas.get(auth.team.id)
        if delta is None:
            delta = self._deltas[auth.team.id] = _UsageDelta(auth.team)
        delta.requests += 1
        delta.downloaded += response.inline_bytes
        usage = response.usage
        if usage is not None:
            delta.uploaded += usage.uploaded_bytes
            delta.events += usage.events
            position = usage.spool_position
            if position is not None:
                delta.spool_position = max(delta.spool_position or position, position)
        if self._flushed is None:
            loop = asyncio.get_running_loop()
            self._flushed = loop.create_future()
            loop.call_soon(self._flush)
        await self._flushed

    def _flush(self) -> None:
        """Meter all requests of one iteration of the event loop, with one write for each team."""
        deltas, self._deltas = self._deltas, {}
        flushed, self._flushed = self._flushed, None
        error: ServiceUnavailable | None = None
        for delta in deltas.values():
            try:
                self._meter.count(
                    delta.team,
                    requests=delta.requests,
                    uploaded_bytes=delta.uploaded,
                    downloaded_bytes=delta.downloaded,
                    events=delta.events,
                    spool_position=delta.spool_position,
                )
            except ServiceUnavailable as raised:
                error = raised
        if flushed is not None:
            if error is None:
                flushed.set_result(None)
            else:
                flushed.set_exception(error)

    def record_sent_bytes(self, auth: AuthContext | None, sent_bytes: int) -> None:
        """Meter a chunk of a streamed file. Without `auth`, nothing is metered."""
        if auth is not None:
            self._meter.count(auth.team, downloaded_bytes=sent_bytes)

    async def delay_failed_auth(self, scope: Scope) -> None:
        """Delay the 401 response to an address that has sent many invalid tokens."""
        client = scope.get("client")
        address, now_ms = str(client[0]) if client else "", self._clock.now_ms()
        self._auth_failures.record_failure(address, now_ms)
        delay_s = self._auth_failures.delay_s(address, now_ms)
        if delay_s:
            await asyncio.sleep(delay_s)
