"""Cost of usage, spend caps and forecasts. Pure."""

import msgspec

from hitrate.teams.settings import Prices, TeamSettings

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
