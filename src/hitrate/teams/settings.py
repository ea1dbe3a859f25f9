"""What a team has been told to be: switches, limits, prices. Kept as one JSON value with the team.

Money is whole millionths of the currency; text with a decimal point at the edges. Sizes are bytes.

What a team may use and what it pays: limits, prices, spend cap, cycle, blocks; shown and changed
in the same way by the API and by commands. Pure.
"""

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hitrate.errors import BadRequest
from hitrate.money import parse_money
from hitrate.teams.cycles import BillingSchedule

COUNT_MOST = 2**62
Count = Annotated[int, Meta(ge=0, le=COUNT_MOST)]

MEASURES = ("uploaded_bytes", "downloaded_bytes", "requests", "events", "stored_bytes")
"""What is metered, limited and priced; all but `stored_bytes` begin at 0 with each cycle."""


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """Most of each measure in a billing cycle; None is no limit."""

    uploaded_bytes: Count | None = None
    downloaded_bytes: Count | None = None
    requests: Count | None = None
    events: Count | None = None
    stored_bytes: Count | None = None


class Prices(msgspec.Struct, frozen=True, rename="camel"):
    """In millionths of the currency: for a GB (10^9 bytes) up, down, and stored for a whole
    cycle; for a million requests; for a million events."""

    uploaded_gb: Count = 0
    downloaded_gb: Count = 0
    stored_gb: Count = 0
    million_requests: Count = 0
    million_events: Count = 0


class TeamSettings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`paused_at_ms` is when the spend cap was reached; an owner who raises or disables the cap
    clears it."""

    remote_caching: bool = True
    soft_blocked: bool = False
    payment_missing: bool = False
    requests_per_minute: Count | None = None
    limits: Limits = Limits()
    prices: Prices = Prices()
    currency: str = "USD"
    spend_cap: Count | None = None
    paused_at_ms: int | None = None
    cycle: BillingSchedule = BillingSchedule()


_decoder = msgspec.json.Decoder(TeamSettings)


def decode_settings(text: str) -> TeamSettings:
    """From the database."""
    return _decoder.decode(text)


def encode_settings(settings: TeamSettings) -> str:
    """For the database."""
    return msgspec.json.encode(settings).decode()


Money = str | int | float

_LAST_DAY = 31

# Said in the documentation; checked by `apply_billing`, whose messages say more.
_DAY = Meta(extra_json_schema={"minimum": 1, "maximum": _LAST_DAY})
_CURRENCY = Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})


class SettingsPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be changed; the rest stays."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    remote_caching: bool | UnsetType = UNSET
    requests_per_minute: Count | UnsetType | None = UNSET


def apply_settings(patch: SettingsPatch, settings: TeamSettings) -> TeamSettings:
    """The settings with what the patch names."""
    changed = {
        name: value
        for name in ("remote_caching", "requests_per_minute")
        if (value := getattr(patch, name)) is not UNSET
    }
    return msgspec.structs.replace(settings, **changed)


class LimitsPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Most of each measure in a cycle; null is no limit; what is left out stays."""

    uploaded_bytes: Count | UnsetType | None = UNSET
    downloaded_bytes: Count | UnsetType | None = UNSET
    requests: Count | UnsetType | None = UNSET
    events: Count | UnsetType | None = UNSET
    stored_bytes: Count | UnsetType | None = UNSET


class PricesPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """For a GB (10^9 bytes) up, down, and stored for a cycle; for a million requests or events."""

    uploaded_gb: Money | UnsetType = UNSET
    downloaded_gb: Money | UnsetType = UNSET
    stored_gb: Money | UnsetType = UNSET
    million_requests: Money | UnsetType = UNSET
    million_events: Money | UnsetType = UNSET


_WIRE_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(PricesPatch)}


class BillingPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be changed; the rest stays. The two last are for the operator alone."""

    cycle_day: Annotated[int, _DAY] | UnsetType = UNSET
    limits: LimitsPatch | UnsetType = UNSET
    currency: Annotated[str, _CURRENCY] | UnsetType = UNSET
    prices: PricesPatch | UnsetType = UNSET
    spend_cap: Money | UnsetType | None = UNSET
    soft_blocked: bool | UnsetType = UNSET
    payment_missing: bool | UnsetType = UNSET

    @property
    def is_for_operator(self) -> bool:
        return self.soft_blocked is not UNSET or self.payment_missing is not UNSET


def apply_billing(patch: BillingPatch, settings: TeamSettings, now_ms: int) -> TeamSettings:
    """The settings with what the patch names. Raises BadRequest; then nothing is changed."""
    changed: dict[str, object] = {}
    if patch.cycle_day is not UNSET and patch.cycle_day != settings.cycle.day:
        if not 1 <= patch.cycle_day <= _LAST_DAY:
            raise BadRequest(f"$.cycleDay is {patch.cycle_day}; it takes a day from 1 to 31.")
        changed["cycle"] = settings.cycle.with_day(patch.cycle_day, now_ms)
    if patch.limits is not UNSET:
        changed["limits"] = msgspec.structs.replace(settings.limits, **_given(patch.limits))
    if patch.currency is not UNSET:
        if not re.fullmatch("[A-Z]{3}", patch.currency):
            raise BadRequest(
                f"$.currency is {patch.currency[:40]!a}; it takes three capital letters, such as "
                "EUR."
            )
        changed["currency"] = patch.currency
    if patch.prices is not UNSET:
        prices = {
            name: _money(value, f"prices.{_WIRE_NAMES[name]}")
            for name, value in _given(patch.prices).items()
        }
        changed["prices"] = msgspec.structs.replace(settings.prices, **prices)
    for name in ("soft_blocked", "payment_missing"):
        if (value := getattr(patch, name)) is not UNSET:
            changed[name] = value
    if patch.spend_cap is not UNSET:
        changed |= _spend_cap(patch.spend_cap, settings)
    return msgspec.structs.replace(settings, **changed)


def _spend_cap(value: Money | None, settings: TeamSettings) -> dict[str, object]:
    """A cap that is raised or disabled ends a pause; any other change does not."""
    cap = None if value is None else _money(value, "spendCap")
    if cap is None or (settings.spend_cap is not None and cap > settings.spend_cap):
        return {"spend_cap": cap, "paused_at_ms": None}
    return {"spend_cap": cap}


def _money(value: Money, field: str) -> int:
    try:
        return parse_money(value, f"$.{field}")
    except ValueError as error:
        raise BadRequest(f"{error}.") from error


def _given(patch: msgspec.Struct) -> dict[str, Money]:
    return {name: v for name, v in msgspec.structs.asdict(patch).items() if v is not UNSET}
