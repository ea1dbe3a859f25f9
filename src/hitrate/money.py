"""Parsing and formatting of money: whole micros inside, decimal text outside.

A micro is a millionth of a currency.
"""

from decimal import Decimal, InvalidOperation

_DECIMALS = 6
_MICROS = 10**_DECIMALS
MAX_AMOUNT = 10**12
"""Maximum in whole units of the currency."""


def parse_money(value: str | int | float, field: str) -> int:  # noqa: PYI041  # reason: JSON has both
    """Return the micros of `12.5` or `"12.50"`. Raises ValueError that names the field."""
    excerpt = str(value)[:40]
    try:
        amount = Decimal(str(value).strip())
        if not amount.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"{field} is {excerpt!a}; it takes an amount, such as 12.50") from None
    if not 0 <= amount <= MAX_AMOUNT:
        raise ValueError(f"{field} is {excerpt}; it takes an amount from 0 to {MAX_AMOUNT}")
    if amount != round(amount, _DECIMALS):
        raise ValueError(f"{field} is {excerpt}; it takes at most six decimals")
    return int(amount * _MICROS)


def format_money(micros: int) -> str:
    """Return `12.50` for 12500000, with two to six decimals."""
    sign, micros = ("-" if micros < 0 else ""), abs(micros)
    decimals = f"{micros % _MICROS:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{micros // _MICROS}.{decimals}"
