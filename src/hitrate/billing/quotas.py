"""Team states and quotas: decides whether a team may use the cache now.

A request is rejected for the first of these reasons: 401 no valid token; 403 no permission (both
by the authorizer); 402 soft-blocked or payment missing; 403 Remote Caching disabled; 403 paused by
the spend cap; 403 over a usage limit; 429 rate limit exceeded.
"""

from enum import StrEnum

from hitrate.auth.models import AuthContext
from hitrate.billing.meter import Meter
from hitrate.billing.meter_file import MeterFile
from hitrate.billing.pricing import UsageTotals, spend_cap_reached
from hitrate.billing.rate_limit import RateLimiter
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


class TeamState(StrEnum):
    """Whether a team may use the cache, or the first reason why not, in order of precedence."""

    ACTIVE = "active"
    SOFT_BLOCKED = "soft_blocked"
    PAYMENT_MISSING = "payment_missing"
    DISABLED = "disabled"
    PAUSED = "paused"
    OVER_LIMIT = "over_limit"


CACHE_STATUS: dict[TeamState, str] = {
    TeamState.ACTIVE: "enabled",
    TeamState.SOFT_BLOCKED: "disabled",
    TeamState.PAYMENT_MISSING: "disabled",
    TeamState.DISABLED: "disabled",
    TeamState.PAUSED: "paused",
    TeamState.OVER_LIMIT: "over_limit",
}
"""What `GET /v8/artifacts/status` returns in each state."""


def evaluate_state(settings: TeamSettings, usage: UsageTotals, cycle_ms: int) -> TeamState:
    """Return the state of a team with this usage in a cycle of `cycle_ms` milliseconds."""
    if settings.soft_blocked:
        return TeamState.SOFT_BLOCKED
    if settings.payment_missing:
        return TeamState.PAYMENT_MISSING
    if not settings.remote_caching:
        return TeamState.DISABLED
    if settings.paused_at_ms is not None or spend_cap_reached(settings, usage, cycle_ms):
        return TeamState.PAUSED
    if reached_limits(settings.limits, usage):
        return TeamState.OVER_LIMIT
    return TeamState.ACTIVE


def reached_limits(limits: Limits, usage: UsageTotals) -> list[str]:
    """Return the names of the measures whose limit is reached."""
    return [
        name
        for name in MEASURES
        if (limit := getattr(limits, name)) is not None and getattr(usage, name) >= limit
    ]


def state_from_file(meter_file: MeterFile, team: Team) -> TeamState:
    """Return the state of a team from the meter's file, whether or not a server runs."""
    cycle, usage = meter_file.snapshot(team)
    return evaluate_state(team.settings, usage, cycle.length_ms)


_REJECTIONS: dict[TeamState, tuple[type[RequestError], str]] = {
    TeamState.SOFT_BLOCKED: (
        PaymentRequired,
        "The team {team} is blocked. Ask the operator of this server to unblock it.",
    ),
    TeamState.PAYMENT_MISSING: (
        PaymentRequired,
        "A payment of the team {team} is missing. Ask the operator of this server to record it.",
    ),
    TeamState.DISABLED: (
        CachingDisabled,
        "Remote Caching is disabled for the team {team}. An owner can enable it.",
    ),
    TeamState.PAUSED: (
        CachingPaused,
        (
            "The spend cap of the team {team} is reached: Remote Caching is paused. "
            "An owner can raise the cap."
        ),
    ),
    TeamState.OVER_LIMIT: (
        CachingOverLimit,
        (
            "The team {team} has reached a usage limit of its billing cycle ({measures}). "
            "An owner can raise it."
        ),
    ),
}

_DISABLED_FOR_USER = (
    "Remote Caching is disabled for you in the team {team}. An owner can enable it."
)


class QuotaEnforcer:
    """Checks the quotas of artifact and event requests. Its rate limits last while it lives."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._rate_limiter = RateLimiter(clock)

    def check(self, auth: AuthContext) -> None:
        """Check the team's state, then count the request towards its rate limit.

        Raises PaymentRequired, CachingDisabled, CachingPaused, CachingOverLimit or RateLimited.
        """
        state = self.caller_state(auth)
        if state is not TeamState.ACTIVE:
            raise self._rejection(state, auth)
        requests_per_minute = auth.team.settings.requests_per_minute
        if requests_per_minute is not None:
            self._check_rate(auth.team, requests_per_minute)

    def status(self, auth: AuthContext) -> str:
        """Return the result of `GET /v8/artifacts/status`.

        One of `enabled`, `disabled`, `over_limit` and `paused`.
        """
        return CACHE_STATUS[self.caller_state(auth)]

    def caller_state(self, auth: AuthContext) -> TeamState:
        """Return the team's state as it applies to this caller.

        Remote Caching may be disabled for a single member.
        """
        state = self.team_state(auth.team)
        if auth.member is None or auth.member.remote_caching:
            return state
        if state in (TeamState.SOFT_BLOCKED, TeamState.PAYMENT_MISSING):
            return state
        return TeamState.DISABLED

    def team_state(self, team: Team) -> TeamState:
        """Return the team's state as it applies to all members."""
        record = self._meter.current(team)
        return evaluate_state(team.settings, record.usage, record.end_ms - record.start_ms)

    def _rejection(self, state: TeamState, auth: AuthContext) -> RequestError:
        team = auth.team
        error_type, message = _REJECTIONS[state]
        if state is TeamState.DISABLED and team.settings.remote_caching:
            message = _DISABLED_FOR_USER
        measures = reached_limits(team.settings.limits, self._meter.current(team).usage)
        return error_type(
            message.format(team=team.slug, measures=", ".join(measures).replace("_", " "))
        )

    def _check_rate(self, team: Team, requests_per_minute: int) -> None:
        wait_s = self._rate_limiter.acquire(team.id, requests_per_minute)
        if wait_s:
            raise RateLimited(
                f"The team {team.slug} has exceeded its rate limit of {requests_per_minute} "
                f"requests per minute. Retry in {wait_s} s. An owner can raise the limit.",
                wait_s,
            )
