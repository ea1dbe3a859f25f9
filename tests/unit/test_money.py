"""Money: text outside, whole millionths inside, nothing rounded."""

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitrate.money import money_text, parse_money

MOST = 10**18

millionths = st.integers(0, MOST)


@given(millionths)
@example(0)
@example(MOST)
def test_what_is_written_is_read_back(amount: int) -> None:
    assert parse_money(money_text(amount), "price") == amount


@given(millionths)
def test_text_is_the_exact_amount_with_two_to_six_decimals(amount: int) -> None:
    whole, decimals = money_text(amount).split(".")
    assert Decimal(f"{whole}.{decimals}") * 10**6 == amount
    assert 2 <= len(decimals) <= 6
    assert len(decimals) == 2 or not decimals.endswith("0")


@given(st.decimals(0, 10**12, places=6))
def test_six_decimals_are_read_exactly(amount: Decimal) -> None:
    assert parse_money(str(amount), "price") == int(amount.scaleb(6))


@given(st.integers(0, 10**6))
def test_a_number_of_json_is_read_as_its_text(cents: int) -> None:
    assert parse_money(cents / 100, "price") == cents * 10_000
    assert parse_money(cents, "price") == cents * 10**6


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("12.5", 12_500_000),
        (" 12.50 ", 12_500_000),
        ("0", 0),
        (0.1, 100_000),
        (1e-06, 1),
        ("0.000001", 1),
        ("1.0000000", 1_000_000),
        ("1000000000000", MOST),
        (1e12, MOST),
    ],
)
def test_an_amount_may_be_written_in_several_ways(value: str | float, amount: int) -> None:
    assert parse_money(value, "price") == amount


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "free",
        "12,50",
        "$5",
        "1.2.3",
        "0x10",
        "NaN",
        "sNaN",
        "inf",
        "-Infinity",
        float("nan"),
        float("inf"),
        True,
        "-0.01",
        -1,
        "0.0000001",
        "1.1234567",
        1e-07,
        "1.0000000000000000000000000000000000001",
        "123456789012.12345600000000000000000001",
        "1e-999999999",
        "1000000000000.000001",
        "1e13",
        "1e999999999",
        "9" * 5000,
    ],
)
def test_what_is_no_amount_is_refused_and_its_field_is_named(value: str | float) -> None:
    with pytest.raises(ValueError, match=r"^\$\.spendCap is ") as caught:
        parse_money(value, "$.spendCap")
    assert len(str(caught.value)) < 200


@given(st.text(max_size=20))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    try:
        amount = parse_money(text, "price")
    except ValueError:
        return
    assert 0 <= amount <= MOST


def test_a_difference_below_nothing_has_its_sign() -> None:
    assert money_text(-1_500_000) == "-1.50"
