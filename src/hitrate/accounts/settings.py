"""What a team has been told to be: switches, limits, prices. Kept as one JSON value with the team.

Money is whole millionths of the currency; text with a decimal point at the edges. Sizes are bytes.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from hitrate.accounts.cycles import CyclePlan

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
    cycle: CyclePlan = CyclePlan()


_decoder = msgspec.json.Decoder(TeamSettings)


def decode_settings(text: str) -> TeamSettings:
    """From the database."""
    return _decoder.decode(text)


def encode_settings(settings: TeamSettings) -> str:
    """For the database."""
    return msgspec.json.encode(settings).decode()
