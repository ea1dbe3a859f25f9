"""In which state a team's cache is, and what its use costs. Pure.

The order in which a request is judged, everywhere: 401 no valid token; 403 no permission;
402 soft-blocked or payment missing; 403 Remote Caching disabled; 403 paused by the spend cap;
403 over a usage limit; 429 too many requests a minute.
"""

from enum import StrEnum

import msgspec

from hitrate.accounts.settings import MEASURES, Limits, Prices, TeamSettings

_HOUR_MS = 3_600_000


class Amounts(msgspec.Struct, rename="camel"):
    """What a team used in a cycle. `stored_bytes` is what it keeps now, `stored_byte_ms` the
    sum of that over the cycle's time, in milliseconds."""

    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    requests: int = 0
    events: int = 0
    stored_bytes: int = 0
    stored_byte_ms: int = 0


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


def cap_reached(settings: TeamSettings, used: Amounts, cycle_ms: int) -> bool:
    """Whether the cost so far has come up to the spend cap."""
    cap = settings.spend_cap
    return (
        cap is not None and _scaled_cost(settings.prices, used, cycle_ms) >= cap * 10**9 * cycle_ms
    )


def cost(prices: Prices, used: Amounts, cycle_ms: int) -> int:
    """In millionths of the currency, rounded down."""
    return _scaled_cost(prices, used, cycle_ms) // (10**9 * cycle_ms)


def _scaled_cost(prices: Prices, used: Amounts, cycle_ms: int) -> int:
    """Millionths of the currency times 10^9 times the cycle's length: whole, hence exact."""
    flowed = (
        prices.uploaded_gb * used.uploaded_bytes
        + prices.downloaded_gb * used.downloaded_bytes
        + prices.million_requests * used.requests * 1000
        + prices.million_events * used.events * 1000
    )
    return flowed * cycle_ms + prices.stored_gb * used.stored_byte_ms


def forecast(used: Amounts, elapsed_ms: int, left_ms: int) -> Amounts:
    """What the cycle will end with if it goes on as it went; what is stored stays.

    In a cycle's first hour as if an hour had passed, so that one build predicts no thousands.
    """
    elapsed_ms = max(elapsed_ms, _HOUR_MS)

    def ahead(amount: int) -> int:
        return amount + amount * left_ms // elapsed_ms

    return Amounts(
        uploaded_bytes=ahead(used.uploaded_bytes),
        downloaded_bytes=ahead(used.downloaded_bytes),
        requests=ahead(used.requests),
        events=ahead(used.events),
        stored_bytes=used.stored_bytes,
        stored_byte_ms=used.stored_byte_ms + used.stored_bytes * left_ms,
    )
