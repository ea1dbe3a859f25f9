"""Wire formats: the body of recordEvents, and the lines of spool segments.

A body is parsed strictly. The spool line is encoded from the parsed values, never copied from the
body: a body with a repeated key passes validation, but DuckDB could not read its segment.
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hitrate.errors import BadRequest

Text = Annotated[str, Meta(max_length=1024)]


class CacheEvent(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False, frozen=True):
    """One item of the body of recordEvents. `duration` is the run time of the task in ms."""

    session_id: Text
    source: Literal["LOCAL", "REMOTE"]
    event: Literal["HIT", "MISS"]
    hash: Text
    duration: float | UnsetType = UNSET


class Batch(msgspec.Struct, rename="camel", gc=False):
    """The events of one accepted request: one line of a segment. `received_at` is in UTC ms."""

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

_EXPECTED_BODY = (
    "Send a JSON array of objects with sessionId and hash (strings of at most 1024 characters), "
    "source (LOCAL or REMOTE), event (HIT or MISS), optionally duration (a number), and nothing "
    "else."
)


def decode_events(body: bytes) -> list[CacheEvent]:
    """Parse the body of recordEvents. Raises BadRequest, which names the error and its place."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"{error}. {_EXPECTED_BODY}") from error


def decode_batch(line: bytes) -> Batch:
    """Parse one line of a segment. Raises ValueError."""
    return _batch_decoder.decode(line)


def digest(body: bytes) -> str:
    """SHA-256 of the body, truncated to 128 bits, hex."""
    return hashlib.sha256(body).hexdigest()[:32]


def encode_batch(batch: Batch) -> bytes:
    """Encode a batch as one line of NDJSON."""
    return _encoder.encode(batch) + b"\n"
