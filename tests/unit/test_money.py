"""Parsing and formatting of money: exact, between text and whole micros."""

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitrate.money import format_money, parse_money

MAX_MICROS = 10**18

micros = st.integers(0, MAX_MICROS)


@given(micros)
@example(0)
@example(MAX_MICROS)
def test_parse_money_restores_formatted_amount(amount: int) -> None:
    assert parse_money(format_money(amount), "price") == amount


@given(micros)
def test_format_money_is_exact_with_two_to_six_decimals(amount: int) -> None:
    integer, decimals = format_money(amount).split(".")
    assert Decimal(f"{integer}.{decimals}") * 10**6 == amount
    assert 2 <= len(decimals) <= 6
    assert len(decimals) == 2 or not decimals.endswith("0")


@given(st.decimals(0, 10**12, places=6))
def test_parse_money_reads_six_decimals_exactly(amount: Decimal) -> None:
    assert parse_money(str(amount), "price") == int(amount.scaleb(6))


@given(st.integers(0, 10**6))
def test_parse_money_reads_json_numbers_exactly(cents: int) -> None:
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
        ("1000000000000", MAX_MICROS),
        (1e12, MAX_MICROS),
    ],
)
def test_parse_money_accepts_several_notations(value: str | float, amount: int) -> None:
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
def test_parse_money_error_names_the_field(value: str | float) -> None:
    with pytest.raises(ValueError, match=r"^\$\.spendCap is ") as raised:
        parse_money(value, "$.spendCap")
    assert len(str(raised.value)) < 200


@given(st.text(max_size=20))
def test_parse_money_accepts_or_rejects_any_text(text: str) -> None:
    try:
        amount = parse_money(text, "price")
    except ValueError:
        return
    assert 0 <= amount <= MAX_MICROS


def test_format_money_keeps_the_sign_of_negative_amounts() -> None:
    assert format_money(-1_500_000) == "-1.50"
