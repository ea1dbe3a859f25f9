"""Settings of a team, and the patches with which the API, pages and commands change them. Pure.

The settings are stored as one JSON value with the team. Money is stored in micros (millionths of
the currency); patches take decimal text or numbers. Sizes are bytes.
"""

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hitrate.errors import BadRequest
from hitrate.money import parse_money
from hitrate.teams.cycles import BillingSchedule

MAX_COUNT = 2**62
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]

MEASURES = ("uploaded_bytes", "downloaded_bytes", "requests", "events", "stored_bytes")
"""The metered, limited and priced quantities. All but `stored_bytes` start at 0 in each cycle."""


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """The limit of each measure in a billing cycle. None is no limit."""

    uploaded_bytes: Count | None = None
    downloaded_bytes: Count | None = None
    requests: Count | None = None
    events: Count | None = None
    stored_bytes: Count | None = None


class Prices(msgspec.Struct, frozen=True, rename="camel"):
    """Prices in micros.

    Per GB (10^9 bytes) uploaded, downloaded, and stored for a whole cycle; per million requests;
    per million events.
    """

    uploaded_gb: Count = 0
    downloaded_gb: Count = 0
    stored_gb: Count = 0
    million_requests: Count = 0
    million_events: Count = 0


class TeamSettings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Everything about a team that can be changed, apart from its name.

    `paused_at_ms` is when the spend cap was reached. Raising or removing the cap clears it.
    """

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
    """Decode the JSON of the database column."""
    return _decoder.decode(text)


def encode_settings(settings: TeamSettings) -> str:
    """Encode the JSON of the database column. Defaults are omitted."""
    return msgspec.json.encode(settings).decode()


Money = str | int | float

_LAST_DAY = 31

# For the documentation only. `apply_billing` checks the values, with better messages.
_DAY = Meta(extra_json_schema={"minimum": 1, "maximum": _LAST_DAY})
_CURRENCY = Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})


class SettingsPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The settings to change. Omitted fields do not change."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    remote_caching: bool | UnsetType = UNSET
    requests_per_minute: Count | UnsetType | None = UNSET


def apply_settings(patch: SettingsPatch, settings: TeamSettings) -> TeamSettings:
    """Return the settings after the patch. The patch's name is not part of them."""
    changed = {
        name: value
        for name in ("remote_caching", "requests_per_minute")
        if (value := getattr(patch, name)) is not UNSET
    }
    return msgspec.structs.replace(settings, **changed)


class LimitsPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Limits per billing cycle. null is no limit; omitted fields do not change."""

    uploaded_bytes: Count | UnsetType | None = UNSET
    downloaded_bytes: Count | UnsetType | None = UNSET
    requests: Count | UnsetType | None = UNSET
    events: Count | UnsetType | None = UNSET
    stored_bytes: Count | UnsetType | None = UNSET


class PricesPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The prices to change. A GB is 10^9 bytes; `storedGb` is the price for a whole cycle."""

    uploaded_gb: Money | UnsetType = UNSET
    downloaded_gb: Money | UnsetType = UNSET
    stored_gb: Money | UnsetType = UNSET
    million_requests: Money | UnsetType = UNSET
    million_events: Money | UnsetType = UNSET


_WIRE_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(PricesPatch)}


class BillingPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The billing settings to change. Omitted fields do not change.

    `softBlocked` and `paymentMissing` are reserved for the operator.
    """

    cycle_day: Annotated[int, _DAY] | UnsetType = UNSET
    limits: LimitsPatch | UnsetType = UNSET
    currency: Annotated[str, _CURRENCY] | UnsetType = UNSET
    prices: PricesPatch | UnsetType = UNSET
    spend_cap: Money | UnsetType | None = UNSET
    soft_blocked: bool | UnsetType = UNSET
    payment_missing: bool | UnsetType = UNSET

    @property
    def requires_operator(self) -> bool:
        return self.soft_blocked is not UNSET or self.payment_missing is not UNSET


def apply_billing(patch: BillingPatch, settings: TeamSettings, now_ms: int) -> TeamSettings:
    """Return the settings after the patch. Raises BadRequest for an invalid value."""
    changed: dict[str, object] = {}
    if patch.cycle_day is not UNSET and patch.cycle_day != settings.cycle.day:
        if not 1 <= patch.cycle_day <= _LAST_DAY:
            raise BadRequest(f"$.cycleDay is {patch.cycle_day}; it takes a day from 1 to 31.")
        changed["cycle"] = settings.cycle.with_day(patch.cycle_day, now_ms)
    if patch.limits is not UNSET:
        changed["limits"] = msgspec.structs.replace(settings.limits, **_set_fields(patch.limits))
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
            for name, value in _set_fields(patch.prices).items()
        }
        changed["prices"] = msgspec.structs.replace(settings.prices, **prices)
    for name in ("soft_blocked", "payment_missing"):
        if (value := getattr(patch, name)) is not UNSET:
            changed[name] = value
    if patch.spend_cap is not UNSET:
        changed |= _spend_cap(patch.spend_cap, settings)
    return msgspec.structs.replace(settings, **changed)


def _spend_cap(value: Money | None, settings: TeamSettings) -> dict[str, object]:
    """Return the changed fields. Raising or removing the cap ends a pause."""
    cap = None if value is None else _money(value, "spendCap")
    if cap is None or (settings.spend_cap is not None and cap > settings.spend_cap):
        return {"spend_cap": cap, "paused_at_ms": None}
    return {"spend_cap": cap}


def _money(value: Money, field: str) -> int:
    try:
        return parse_money(value, f"$.{field}")
    except ValueError as error:
        raise BadRequest(f"{error}.") from error


def _set_fields(patch: msgspec.Struct) -> dict[str, Money]:
    return {name: v for name, v in msgspec.structs.asdict(patch).items() if v is not UNSET}
