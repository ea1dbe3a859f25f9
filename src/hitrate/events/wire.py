"""Cache usage events as they come over the wire and as they stand in the spool.

Parsed once, strictly; written anew from the validated values, never from the client's bytes: a
body with a repeated key passes validation, and would spoil a whole segment for the event store.
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hitrate.errors import BadRequest

Text = Annotated[str, Meta(max_length=1024)]


class CacheEvent(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False, frozen=True):
    """One item of the body of recordEvents. `duration`: ms that making the artifact took."""

    session_id: Text
    source: Literal["LOCAL", "REMOTE"]
    event: Literal["HIT", "MISS"]
    hash: Text
    duration: float | UnsetType = UNSET


class Batch(msgspec.Struct, rename="camel", gc=False):
    """One accepted request: one line of a segment. `received_at` in UTC milliseconds."""

    team: str
    token: str
    received_at: int
    ci: str | None
    interactive: bool | None
    agent: str | None
    digest: str
    events: list[CacheEvent]


_decoder = msgspec.json.Decoder(list[CacheEvent])
_batch_decoder = msgspec.json.Decoder(Batch)
_encoder = msgspec.json.Encoder()

_SHAPE = (
    "Send a JSON array of objects with sessionId and hash (strings of at most 1024 characters), "
    "source (LOCAL or REMOTE), event (HIT or MISS), optionally duration (a number), and nothing "
    "else."
)


def decode_events(body: bytes) -> list[CacheEvent]:
    """The events of a request. Raises BadRequest that says what is wrong and where."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"{error}. {_SHAPE}") from error


def decode_batch(line: bytes) -> Batch:
    """One line of a segment. Raises ValueError."""
    return _batch_decoder.decode(line)


def digest(body: bytes) -> str:
    """SHA-256 of the body, truncated to 128 bits, hex."""
    return hashlib.sha256(body).hexdigest()[:32]


def encode_batch(batch: Batch) -> bytes:
    """The batch as one line of NDJSON."""
    return _encoder.encode(batch) + b"\n"
