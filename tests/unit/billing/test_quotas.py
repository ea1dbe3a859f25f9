"""The state of a team's cache, what its use costs, and what it will have used."""

from fractions import Fraction
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitrate.billing.pricing import Amounts, cap_reached, cost, forecast
from hitrate.billing.quotas import STATUS, State, limits_reached, state_of
from hitrate.teams.settings import MEASURES, Limits, Prices, TeamSettings

HOUR_MS = 3_600_000
MONTH_MS = 30 * 24 * HOUR_MS

PRICED = TeamSettings(prices=Prices(million_requests=1_000_000), spend_cap=5)
"""A millionth for each request; five requests reach the cap."""

counts = st.one_of(st.integers(0, 10), st.integers(0, 2**50))
lengths = st.integers(1, 31 * 24 * HOUR_MS)


@st.composite
def amounts(draw: st.DrawFn, cycle_ms: int = MONTH_MS) -> Amounts:
    """Anything that a team may have used; storage no longer than a cycle."""
    stored = draw(counts)
    return Amounts(
        draw(counts), draw(counts), draw(counts), draw(counts), stored,
        draw(st.integers(0, 2**50 * cycle_ms)),
    )  # fmt: skip


prices = st.builds(Prices, counts, counts, counts, counts, counts)

SHUT: list[tuple[State, dict[str, Any]]] = [
    (State.SOFT_BLOCKED, {"soft_blocked": True}),
    (State.PAYMENT_MISSING, {"payment_missing": True}),
    (State.DISABLED, {"remote_caching": False}),
    (State.PAUSED, {"paused_at_ms": 1}),
    (State.OVER_LIMIT, {"limits": Limits(requests=0)}),
]
"""What shuts a team, in the order in which it is said."""


def fair_cost(of: Prices, used: Amounts, cycle_ms: int) -> Fraction:
    """The same, by the words: per GB, per million, and storage by its share of the cycle."""
    gb, million = 10**9, 10**6
    return (
        Fraction(used.uploaded_bytes, gb) * of.uploaded_gb
        + Fraction(used.downloaded_bytes, gb) * of.downloaded_gb
        + Fraction(used.requests, million) * of.million_requests
        + Fraction(used.events, million) * of.million_events
        + Fraction(used.stored_byte_ms, gb * cycle_ms) * of.stored_gb
    )


def test_a_team_of_which_nothing_is_said_is_active() -> None:
    used = Amounts(2**60, 2**60, 2**60, 2**60, 2**60, 2**90)
    assert state_of(TeamSettings(), used, MONTH_MS) is State.ACTIVE


@pytest.mark.parametrize("size", range(1, len(SHUT) + 1))
def test_of_all_that_shuts_a_team_the_first_is_said(size: int) -> None:
    for reasons in combinations(SHUT, size):
        settings = TeamSettings(**{k: v for _, said in reasons for k, v in said.items()})
        assert state_of(settings, Amounts(), MONTH_MS) is reasons[0][0]


def test_turbo_is_told_one_of_four_words() -> None:
    assert {STATUS[state] for state in State} == {"enabled", "disabled", "paused", "over_limit"}
    assert STATUS.keys() == set(State)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("limit", [0, 1, 1000, 2**62])
def test_a_limit_is_reached_when_use_comes_up_to_it(measure: str, limit: int) -> None:
    limits = Limits(**{measure: limit})
    for used, reached in ((limit - 1, False), (limit, True), (limit + 1, True)):
        if used >= 0:
            amounts = Amounts(**{measure: used})
            assert limits_reached(limits, amounts) == ([measure] if reached else [])
            expected = State.OVER_LIMIT if reached else State.ACTIVE
            assert state_of(TeamSettings(limits=limits), amounts, MONTH_MS) is expected


def test_every_limit_that_is_reached_is_named() -> None:
    used = Amounts(uploaded_bytes=5, requests=7, events=1)
    assert limits_reached(Limits(5, 5, 8, 1, None), used) == ["uploaded_bytes", "events"]


@given(prices, amounts(), lengths)
@example(Prices(1, 1, 1, 1, 1), Amounts(1, 1, 1, 1, 1, 1), 1)
def test_the_cost_is_exact_and_rounded_down_once(of: Prices, used: Amounts, cycle_ms: int) -> None:
    assert cost(of, used, cycle_ms) == fair_cost(of, used, cycle_ms).__floor__()


@given(prices, amounts(), lengths, st.integers(-2, 2))
def test_the_cap_is_reached_exactly_when_the_unrounded_cost_comes_up_to_it(
    of: Prices, used: Amounts, cycle_ms: int, beside: int
) -> None:
    fair = fair_cost(of, used, cycle_ms)
    cap = max(0, fair.__floor__() + beside)
    settings = TeamSettings(prices=of, spend_cap=cap)
    assert cap_reached(settings, used, cycle_ms) == (fair >= cap)
    assert (cost(of, used, cycle_ms) >= cap) == (fair >= cap), "what is shown and what is done"


def test_the_request_that_reaches_the_cap_is_the_last() -> None:
    assert not cap_reached(PRICED, Amounts(requests=4), MONTH_MS)
    assert state_of(PRICED, Amounts(requests=5), MONTH_MS) is State.PAUSED
    assert state_of(PRICED, Amounts(requests=6), MONTH_MS) is State.PAUSED


def test_no_cap_is_never_reached_and_a_cap_of_nothing_always() -> None:
    free = msgspec.structs.replace(PRICED, spend_cap=None)
    assert not cap_reached(free, Amounts(requests=2**60), MONTH_MS)
    assert cap_reached(TeamSettings(spend_cap=0), Amounts(), MONTH_MS)


def test_a_gb_that_is_stored_for_half_a_cycle_costs_half_its_price() -> None:
    of = Prices(stored_gb=2_000_000)
    half = Amounts(stored_byte_ms=10**9 * MONTH_MS // 2)
    assert cost(of, half, MONTH_MS) == 1_000_000


@given(amounts(), st.integers(0, MONTH_MS), st.integers(0, MONTH_MS), st.integers(0, MONTH_MS))
def test_a_forecast_is_never_less_than_what_is_used_and_grows_with_the_time_that_is_left(
    used: Amounts, elapsed_ms: int, left_ms: int, more_ms: int
) -> None:
    near = forecast(used, elapsed_ms, left_ms)
    far = forecast(used, elapsed_ms, left_ms + more_ms)
    for name in Amounts.__struct_fields__:
        assert getattr(used, name) <= getattr(near, name) <= getattr(far, name), name
    assert near.stored_bytes == used.stored_bytes


@given(amounts(), counts, st.integers(0, MONTH_MS), st.integers(0, MONTH_MS))
def test_more_use_forecasts_no_less(
    used: Amounts, more: int, elapsed_ms: int, left_ms: int
) -> None:
    greater = Amounts(*(amount + more for amount in msgspec.structs.astuple(used)))
    one, other = (forecast(each, elapsed_ms, left_ms) for each in (used, greater))
    for name in Amounts.__struct_fields__:
        assert getattr(one, name) <= getattr(other, name), name


@given(amounts(), st.integers(0, MONTH_MS))
def test_at_the_cycles_end_the_forecast_is_what_was_used(used: Amounts, elapsed_ms: int) -> None:
    assert forecast(used, elapsed_ms, 0) == used


@pytest.mark.parametrize("elapsed_ms", [0, 1, HOUR_MS // 2, HOUR_MS])
def test_the_first_hour_counts_as_a_whole_one(elapsed_ms: int) -> None:
    used = Amounts(uploaded_bytes=10, requests=3)
    ahead = forecast(used, elapsed_ms, 24 * HOUR_MS)
    assert (ahead.uploaded_bytes, ahead.requests) == (250, 75)


def test_halfway_twice_as_much_is_forecast_and_storage_goes_on_as_it_is() -> None:
    used = Amounts(100, 200, 300, 400, stored_bytes=7, stored_byte_ms=50)
    ahead = forecast(used, 10 * HOUR_MS, 10 * HOUR_MS)
    assert ahead == Amounts(200, 400, 600, 800, 7, 50 + 7 * 10 * HOUR_MS)
