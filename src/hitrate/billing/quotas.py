"""In which state a team's cache is, and what its use costs. Pure.

The order in which a request is judged, everywhere: 401 no valid token; 403 no permission;
402 soft-blocked or payment missing; 403 Remote Caching disabled; 403 paused by the spend cap;
403 over a usage limit; 429 too many requests a minute.

In which state a team is right now, and what that means for a request: the 402, the 403s and the
429. Permission was judged before, by the authorizer.
"""

import math
from enum import StrEnum

from hitrate.auth.models import AuthContext
from hitrate.billing.meter import Meter
from hitrate.billing.pricing import Amounts, cap_reached
from hitrate.clock import Clock
from hitrate.errors import (
    CachingDisabled,
    CachingOverLimit,
    CachingPaused,
    PaymentRequired,
    RateLimited,
    RequestError,
)
from hitrate.teams.models import Team
from hitrate.teams.settings import MEASURES, Limits, TeamSettings


class State(StrEnum):
    """What shuts a team's cache, the first that holds."""

    ACTIVE = "active"
    SOFT_BLOCKED = "soft_blocked"
    PAYMENT_MISSING = "payment_missing"
    DISABLED = "disabled"
    PAUSED = "paused"
    OVER_LIMIT = "over_limit"


STATUS: dict[State, str] = {
    State.ACTIVE: "enabled",
    State.SOFT_BLOCKED: "disabled",
    State.PAYMENT_MISSING: "disabled",
    State.DISABLED: "disabled",
    State.PAUSED: "paused",
    State.OVER_LIMIT: "over_limit",
}
"""What `GET /v8/artifacts/status` says of each."""


def state_of(settings: TeamSettings, used: Amounts, cycle_ms: int) -> State:
    """The state of a team that has used so much in a cycle of that length."""
    if settings.soft_blocked:
        return State.SOFT_BLOCKED
    if settings.payment_missing:
        return State.PAYMENT_MISSING
    if not settings.remote_caching:
        return State.DISABLED
    if settings.paused_at_ms is not None or cap_reached(settings, used, cycle_ms):
        return State.PAUSED
    if limits_reached(settings.limits, used):
        return State.OVER_LIMIT
    return State.ACTIVE


def limits_reached(limits: Limits, used: Amounts) -> list[str]:
    """The measures whose limit is reached."""
    return [
        name
        for name in MEASURES
        if (limit := getattr(limits, name)) is not None and getattr(used, name) >= limit
    ]


_MINUTE_US = 60_000_000

_REFUSALS: dict[State, tuple[type[RequestError], str]] = {
    State.SOFT_BLOCKED: (
        PaymentRequired,
        "The team {team} is blocked. The operator of this server lifts the block.",
    ),
    State.PAYMENT_MISSING: (
        PaymentRequired,
        "A payment of the team {team} is missing. The operator of this server notes its arrival.",
    ),
    State.DISABLED: (
        CachingDisabled,
        "Remote Caching is disabled for the team {team}. An owner can enable it.",
    ),
    State.PAUSED: (
        CachingPaused,
        "Remote Caching of {team} is paused: its spend cap is reached. An owner can raise it.",
    ),
    State.OVER_LIMIT: (
        CachingOverLimit,
        "{team} reached a usage limit of its billing cycle ({measures}). An owner can raise it.",
    ),
}

_DISABLED_FOR_USER = (
    "Remote Caching is disabled for you in the team {team}. An owner can enable it."
)


class QuotaEnforcer:
    """Judges the operations of the contract. Its memory of the last minute is its own."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._taken_until_us: dict[str, int] = {}

    def check(self, auth: AuthContext) -> None:
        """Raises PaymentRequired, CachingDisabled, CachingPaused, CachingOverLimit or RateLimited:
        the first that holds, in this order."""
        state = self.state(auth)
        if state is not State.ACTIVE:
            raise self._refusal(state, auth)
        if auth.team.settings.requests_per_minute is not None:
            self._count_minute(auth.team, auth.team.settings.requests_per_minute)

    def status(self, auth: AuthContext) -> str:
        """What `GET /v8/artifacts/status` says: enabled, disabled, over_limit or paused."""
        return STATUS[self.state(auth)]

    def state(self, auth: AuthContext) -> State:
        """The team's state as the one sees it who was admitted."""
        state = self.of_team(auth.team)
        mine = auth.member is None or auth.member.remote_caching
        if not mine and state not in (State.SOFT_BLOCKED, State.PAYMENT_MISSING):
            return State.DISABLED
        return state

    def of_team(self, team: Team) -> State:
        """The team's state for all of its members."""
        record = self._meter.current(team)
        return state_of(team.settings, record.used, record.end_ms - record.start_ms)

    def _refusal(self, state: State, auth: AuthContext) -> RequestError:
        team = auth.team
        kind, message = _REFUSALS[state]
        if state is State.DISABLED and team.settings.remote_caching:
            message = _DISABLED_FOR_USER
        measures = limits_reached(team.settings.limits, self._meter.current(team).used)
        return kind(message.format(team=team.slug, measures=", ".join(measures).replace("_", " ")))

    def _count_minute(self, team: Team, limit: int) -> None:
        """A minute's worth may come at once; then one as soon as its share of a minute is over.

        So whoever is refused need not wait long: `turbo` 2.11 waits for `Retry-After` each time.
        """
        now_us = self._clock.now_ms() * 1000
        share_us = _MINUTE_US // limit if limit else _MINUTE_US
        begun_us = min(self._taken_until_us.get(team.id, 0), now_us + _MINUTE_US)
        until_us = max(begun_us, now_us) + share_us
        wait_us = until_us - now_us - _MINUTE_US if limit else _MINUTE_US
        if wait_us > 0:
            wait_s = math.ceil(wait_us / 10**6)
            raise RateLimited(
                f"The team {team.slug} may make {limit} requests at once and so many a minute, and "
                f"made them; go on in {wait_s} s. An owner can raise the limit.",
                wait_s,
            )
        self._taken_until_us[team.id] = until_us
