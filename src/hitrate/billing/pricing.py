"""Metered usage and its cost: prices, spend cap and forecast. Pure.

All money is in micros, millionths of the team's currency.
"""

import msgspec

from hitrate.teams.settings import Prices, TeamSettings

_HOUR_MS = 3_600_000
_BYTES_PER_GB = 10**9
_PER_MILLION_TO_PER_GB = _BYTES_PER_GB // 10**6


class UsageTotals(msgspec.Struct, rename="camel"):
    """Usage of a team in one billing cycle, one field for each measure.

    `stored_bytes` is the current size or, in a closed cycle, the size at its end. `stored_byte_ms`
    is its sum over the cycle: stored bytes times the milliseconds for which they were stored.
    """

    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    requests: int = 0
    events: int = 0
    stored_bytes: int = 0
    stored_byte_ms: int = 0


def cost_micros(prices: Prices, usage: UsageTotals, cycle_ms: int) -> int:
    """Return the cost of the usage in a cycle of `cycle_ms` milliseconds, rounded down."""
    return _scaled_cost(prices, usage, cycle_ms) // (_BYTES_PER_GB * cycle_ms)


def spend_cap_reached(settings: TeamSettings, usage: UsageTotals, cycle_ms: int) -> bool:
    """Return whether the unrounded cost has reached the spend cap. Without a cap it never has."""
    cap = settings.spend_cap
    if cap is None:
        return False
    return _scaled_cost(settings.prices, usage, cycle_ms) >= cap * _BYTES_PER_GB * cycle_ms


def _scaled_cost(prices: Prices, usage: UsageTotals, cycle_ms: int) -> int:
    """Return micros times 10^9 times `cycle_ms`: an integer, so no rounding error."""
    transfer_cost = (
        prices.uploaded_gb * usage.uploaded_bytes
        + prices.downloaded_gb * usage.downloaded_bytes
        + prices.million_requests * usage.requests * _PER_MILLION_TO_PER_GB
        + prices.million_events * usage.events * _PER_MILLION_TO_PER_GB
    )
    return transfer_cost * cycle_ms + prices.stored_gb * usage.stored_byte_ms


def forecast(usage: UsageTotals, elapsed_ms: int, remaining_ms: int) -> UsageTotals:
    """Return the usage at the end of the cycle if current usage continues.

    Stored bytes stay constant. The first hour of a cycle counts as a full hour, so that a single
    build does not predict a thousandfold.
    """
    elapsed_ms = max(elapsed_ms, _HOUR_MS)

    def extrapolate(amount: int) -> int:
        return amount + amount * remaining_ms // elapsed_ms

    return UsageTotals(
        uploaded_bytes=extrapolate(usage.uploaded_bytes),
        downloaded_bytes=extrapolate(usage.downloaded_bytes),
        requests=extrapolate(usage.requests),
        events=extrapolate(usage.events),
        stored_bytes=usage.stored_bytes,
        stored_byte_ms=usage.stored_byte_ms + usage.stored_bytes * remaining_ms,
    )
