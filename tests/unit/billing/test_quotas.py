"""Team states, cost of usage and forecasts."""

from fractions import Fraction
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitrate.billing.pricing import UsageTotals, cost_micros, forecast, spend_cap_reached
from hitrate.billing.quotas import CACHE_STATUS, TeamState, evaluate_state, reached_limits
from hitrate.teams.settings import MEASURES, Limits, Prices, TeamSettings

HOUR_MS = 3_600_000
MONTH_MS = 30 * 24 * HOUR_MS

PRICED = TeamSettings(prices=Prices(million_requests=1_000_000), spend_cap=5)
"""One micro for each request, so five requests reach the cap."""

counts = st.one_of(st.integers(0, 10), st.integers(0, 2**50))
cycle_lengths = st.integers(1, 31 * 24 * HOUR_MS)


@st.composite
def amounts(draw: st.DrawFn, cycle_ms: int = MONTH_MS) -> UsageTotals:
    """Draw any usage; storage lasts for at most the cycle."""
    stored = draw(counts)
    return UsageTotals(
        draw(counts), draw(counts), draw(counts), draw(counts), stored,
        draw(st.integers(0, 2**50 * cycle_ms)),
    )  # fmt: skip


any_prices = st.builds(Prices, counts, counts, counts, counts, counts)

BLOCKED_STATES: list[tuple[TeamState, dict[str, Any]]] = [
    (TeamState.SOFT_BLOCKED, {"soft_blocked": True}),
    (TeamState.PAYMENT_MISSING, {"payment_missing": True}),
    (TeamState.DISABLED, {"remote_caching": False}),
    (TeamState.PAUSED, {"paused_at_ms": 1}),
    (TeamState.OVER_LIMIT, {"limits": Limits(requests=0)}),
]
"""Settings that cause each blocked state, in order of precedence."""


def exact_cost(prices: Prices, usage: UsageTotals, cycle_ms: int) -> Fraction:
    """Compute the unrounded cost from the definition of the prices, in micros."""
    gb, million = 10**9, 10**6
    return (
        Fraction(usage.uploaded_bytes, gb) * prices.uploaded_gb
        + Fraction(usage.downloaded_bytes, gb) * prices.downloaded_gb
        + Fraction(usage.requests, million) * prices.million_requests
        + Fraction(usage.events, million) * prices.million_events
        + Fraction(usage.stored_byte_ms, gb * cycle_ms) * prices.stored_gb
    )


def test_team_with_default_settings_is_active() -> None:
    usage = UsageTotals(2**60, 2**60, 2**60, 2**60, 2**60, 2**90)
    assert evaluate_state(TeamSettings(), usage, MONTH_MS) is TeamState.ACTIVE


@pytest.mark.parametrize("size", range(1, len(BLOCKED_STATES) + 1))
def test_first_blocked_state_by_precedence_is_reported(size: int) -> None:
    for reasons in combinations(BLOCKED_STATES, size):
        settings = TeamSettings(**{k: v for _, values in reasons for k, v in values.items()})
        assert evaluate_state(settings, UsageTotals(), MONTH_MS) is reasons[0][0]


def test_each_state_has_one_of_four_cache_statuses() -> None:
    assert {CACHE_STATUS[state] for state in TeamState} == {
        "enabled",
        "disabled",
        "paused",
        "over_limit",
    }
    assert CACHE_STATUS.keys() == set(TeamState)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("limit", [0, 1, 1000, 2**62])
def test_limit_is_reached_when_usage_equals_it(measure: str, limit: int) -> None:
    limits = Limits(**{measure: limit})
    for usage, reached in ((limit - 1, False), (limit, True), (limit + 1, True)):
        if usage >= 0:
            amounts = UsageTotals(**{measure: usage})
            assert reached_limits(limits, amounts) == ([measure] if reached else [])
            expected = TeamState.OVER_LIMIT if reached else TeamState.ACTIVE
            assert evaluate_state(TeamSettings(limits=limits), amounts, MONTH_MS) is expected


def test_all_reached_limits_are_named() -> None:
    usage = UsageTotals(uploaded_bytes=5, requests=7, events=1)
    assert reached_limits(Limits(5, 5, 8, 1, None), usage) == ["uploaded_bytes", "events"]


@given(any_prices, amounts(), cycle_lengths)
@example(Prices(1, 1, 1, 1, 1), UsageTotals(1, 1, 1, 1, 1, 1), 1)
def test_cost_is_exact_and_rounded_down_once(
    prices: Prices, usage: UsageTotals, cycle_ms: int
) -> None:
    assert cost_micros(prices, usage, cycle_ms) == exact_cost(prices, usage, cycle_ms).__floor__()


@given(any_prices, amounts(), cycle_lengths, st.integers(-2, 2))
def test_spend_cap_is_reached_exactly_when_the_unrounded_cost_equals_it(
    prices: Prices, usage: UsageTotals, cycle_ms: int, difference: int
) -> None:
    exact = exact_cost(prices, usage, cycle_ms)
    cap = max(0, exact.__floor__() + difference)
    settings = TeamSettings(prices=prices, spend_cap=cap)
    assert spend_cap_reached(settings, usage, cycle_ms) == (exact >= cap)
    assert (cost_micros(prices, usage, cycle_ms) >= cap) == (exact >= cap), (
        "displayed cost and enforcement"
    )


def test_no_request_is_allowed_after_the_one_that_reaches_the_spend_cap() -> None:
    assert not spend_cap_reached(PRICED, UsageTotals(requests=4), MONTH_MS)
    assert evaluate_state(PRICED, UsageTotals(requests=5), MONTH_MS) is TeamState.PAUSED
    assert evaluate_state(PRICED, UsageTotals(requests=6), MONTH_MS) is TeamState.PAUSED


def test_missing_spend_cap_is_never_reached_and_zero_cap_always() -> None:
    uncapped = msgspec.structs.replace(PRICED, spend_cap=None)
    assert not spend_cap_reached(uncapped, UsageTotals(requests=2**60), MONTH_MS)
    assert spend_cap_reached(TeamSettings(spend_cap=0), UsageTotals(), MONTH_MS)


def test_gigabyte_stored_for_half_a_cycle_costs_half_its_price() -> None:
    prices = Prices(stored_gb=2_000_000)
    half = UsageTotals(stored_byte_ms=10**9 * MONTH_MS // 2)
    assert cost_micros(prices, half, MONTH_MS) == 1_000_000


@given(amounts(), st.integers(0, MONTH_MS), st.integers(0, MONTH_MS), st.integers(0, MONTH_MS))
def test_forecast_is_at_least_the_usage_and_grows_with_the_remaining_time(
    usage: UsageTotals, elapsed_ms: int, remaining_ms: int, more_ms: int
) -> None:
    sooner = forecast(usage, elapsed_ms, remaining_ms)
    later = forecast(usage, elapsed_ms, remaining_ms + more_ms)
    for name in UsageTotals.__struct_fields__:
        assert getattr(usage, name) <= getattr(sooner, name) <= getattr(later, name), name
    assert sooner.stored_bytes == usage.stored_bytes


@given(amounts(), counts, st.integers(0, MONTH_MS), st.integers(0, MONTH_MS))
def test_forecast_grows_with_usage(
    usage: UsageTotals, more: int, elapsed_ms: int, remaining_ms: int
) -> None:
    greater = UsageTotals(*(amount + more for amount in msgspec.structs.astuple(usage)))
    smaller, larger = (forecast(each, elapsed_ms, remaining_ms) for each in (usage, greater))
    for name in UsageTotals.__struct_fields__:
        assert getattr(smaller, name) <= getattr(larger, name), name


@given(amounts(), st.integers(0, MONTH_MS))
def test_forecast_at_the_cycle_end_equals_usage(usage: UsageTotals, elapsed_ms: int) -> None:
    assert forecast(usage, elapsed_ms, 0) == usage


@pytest.mark.parametrize("elapsed_ms", [0, 1, HOUR_MS // 2, HOUR_MS])
def test_forecast_in_the_first_hour_counts_a_full_hour(elapsed_ms: int) -> None:
    usage = UsageTotals(uploaded_bytes=10, requests=3)
    expected = forecast(usage, elapsed_ms, 24 * HOUR_MS)
    assert (expected.uploaded_bytes, expected.requests) == (250, 75)


def test_forecast_halfway_doubles_usage_and_keeps_stored_bytes() -> None:
    usage = UsageTotals(100, 200, 300, 400, stored_bytes=7, stored_byte_ms=50)
    expected = forecast(usage, 10 * HOUR_MS, 10 * HOUR_MS)
    assert expected == UsageTotals(200, 400, 600, 800, 7, 50 + 7 * 10 * HOUR_MS)
