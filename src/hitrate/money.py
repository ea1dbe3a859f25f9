"""Money: whole millionths of a currency inside, text with a decimal point outside. Pure."""

from decimal import Decimal, InvalidOperation

_DECIMALS = 6
_MILLION = 10**_DECIMALS
_MOST = 10**12


def parse_money(value: str | int | float, field: str) -> int:  # noqa: PYI041  # reason: JSON has both
    """Millionths of `12.5` or `"12.50"`. Raises ValueError that names the field."""
    shown = str(value)[:40]
    try:
        amount = Decimal(str(value).strip())
        if not amount.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"{field} is {shown!a}; it takes an amount, such as 12.50") from None
    if not 0 <= amount <= _MOST:
        raise ValueError(f"{field} is {shown}; it takes an amount from 0 to {_MOST}")
    if amount != round(amount, _DECIMALS):
        raise ValueError(f"{field} is {shown}; it takes at most six decimals")
    return int(amount * _MILLION)


def money_text(millionths: int) -> str:
    """`12.50`: at least two decimals, at most six."""
    sign, whole = ("-" if millionths < 0 else ""), abs(millionths)
    decimals = f"{whole % _MILLION:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole // _MILLION}.{decimals}"
