"""What a request to the cache passes: the gate, its team's standing, and afterwards the meter."""

import asyncio

from hitrate.accounts.gate import Gate
from hitrate.accounts.meter import Meter
from hitrate.accounts.model import Access, Grant
from hitrate.accounts.standing import Standing
from hitrate.accounts.throttle import Throttle
from hitrate.clock import Clock
from hitrate.web.asgi import Request, Response, Scope

_NOT_FOUND = 404

_GUESSES_FREE = 500
_GUESS_WAIT_S = 0.1
_GUESS_WAIT_MOST_S = 1.0
_GUESS_WINDOW_S = 60.0


class Tollhouse:
    """For the operations of the contract; what manages a team works in each of its states."""

    def __init__(self, gate: Gate, standing: Standing, meter: Meter, clock: Clock) -> None:
        self._gate = gate
        self._standing = standing
        self._meter = meter
        self._clock = clock
        self._guesses = Throttle(_GUESSES_FREE, _GUESS_WAIT_S, _GUESS_WAIT_MOST_S, _GUESS_WINDOW_S)

    def admit(self, request: Request, access: Access) -> Grant:
        """Raises whatever the caller is refused for. Only `status` answers in every state."""
        authorization = request.headers.get(b"authorization")
        grant = self._gate.admit(authorization, request.query_string, access)
        if access is not Access.STATUS:
            self._standing.check(grant)
        return grant

    def meter(self, request: Request, access: Access, grant: Grant, response: Response) -> None:
        """Count a request that is answered; one that was refused, and `status`, are free."""
        if access is not Access.STATUS and (response.status < 300 or response.status == _NOT_FOUND):
            self._meter.count(
                grant.team,
                requests=1,
                uploaded=request.uploaded_bytes,
                downloaded=response.sent_at_once,
                events=request.events,
                spooled=request.spooled,
            )

    def meter_piece(self, grant: Grant | None, sent_bytes: int) -> None:
        """Count a piece of a large file that goes out, if to somebody who was admitted."""
        if grant is not None:
            self._meter.count(grant.team, downloaded=sent_bytes)

    async def slow_down(self, scope: Scope) -> None:
        """Let whoever tries one bad token after the other wait."""
        client = scope.get("client")
        address, now_ms = str(client[0]) if client else "", self._clock.now_ms()
        self._guesses.fail(address, now_ms)
        wait_s = self._guesses.wait_s(address, now_ms)
        if wait_s:
            await asyncio.sleep(wait_s)
