"""Requests and responses of `/v8/artifacts`, named as in Vercel's SDKs.

Source: Vercel's OpenAPI document.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from hitrate.client.errors import BadRequest


class Source(StrEnum):
    """The cache that was queried: the local one or the remote one."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


class Event(StrEnum):
    """The result of the query."""

    HIT = "HIT"
    MISS = "MISS"


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
                  rename="camel", omit_defaults=True):  # fmt: skip
    """One cache usage event.

    `session_id`: a UUID shared by all events of one run. `hash`: of the artifact. `duration`: how
    long the task took when it ran, in milliseconds; sent with a HIT.
    """

    session_id: str
    source: Source
    event: Event
    hash: str
    duration: int | float | UnsetType = UNSET

    def __post_init__(self) -> None:
        duration = self.duration
        if isinstance(duration, float) and not math.isfinite(duration):
            raise ValueError("duration must be a finite number of milliseconds")


EventLike = RequestBody | Mapping[str, Any]
"""A RequestBody, or a mapping with wire names (`sessionId`) or Python names (`session_id`)."""


class CachingStatus(StrEnum):
    """State of Remote Caching for a team."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    OVER_LIMIT = "over_limit"
    PAUSED = "paused"


class StatusResponse(msgspec.Struct, frozen=True):
    """Response of `status`."""

    status: CachingStatus


class UploadResponse(msgspec.Struct, frozen=True):
    """Response of `upload`: the URLs of the artifact."""

    urls: list[str]


class DeleteResponse(msgspec.Struct, frozen=True, rename="camel"):
    """Response of `delete_all`."""

    deleted_count: int


class ArtifactInfo(msgspec.Struct, frozen=True, rename="camel"):
    """An artifact found by `query`. `size` in bytes."""

    size: int
    task_duration_ms: int | float = 0
    tag: str | None = None


class ArtifactProblem(msgspec.Struct, frozen=True):
    """A hash for which `query` failed."""

    message: str


QueryResponse = dict[str, ArtifactInfo | ArtifactProblem | None]
"""Response of `query` by hash; None for an artifact that does not exist."""


class ArtifactMetadata(msgspec.Struct, frozen=True):
    """Metadata stored with an artifact; a field is None if it was not sent.

    `sha`: git commit; `dirty_hash`: hash of the uncommitted changes.
    """

    size_bytes: int | None = None
    duration_ms: float | None = None
    tag: str | None = None
    sha: str | None = None
    dirty_hash: str | None = None


class Artifact(msgspec.Struct, frozen=True):
    """A downloaded artifact."""

    content: bytes
    metadata: ArtifactMetadata


def encode_events(events: Sequence[EventLike]) -> bytes:
    """Return the body of a recordEvents request: a compact JSON array.

    Raises BadRequest that says which value is invalid, and where.
    """
    items = enumerate(_as_list(events))
    return b"[" + b",".join(_encode_event(event, index) for index, event in items) + b"]"


def _as_list(events: object) -> Iterable[Any]:
    if not isinstance(events, Iterable) or isinstance(events, str | bytes | Mapping):
        raise BadRequest(f"request_body must be a list of events, not {type(events).__name__}.")
    return events


def _encode_event(event: Any, index: int) -> bytes:
    try:
        return msgspec.json.encode(msgspec.convert(_with_wire_names(event), RequestBody))
    except (ValueError, TypeError, OverflowError) as error:
        where, detail = f"$[{index}]", str(error)
        detail = detail.replace("`$", f"`{where}") if "`$" in detail else f"{detail} - at `{where}`"
        raise BadRequest(f"request_body: {detail}. Nothing was sent.") from error


def _with_wire_names(event: Any) -> Any:
    """Return the event with wire names, not yet validated."""
    if isinstance(event, RequestBody):
        event = msgspec.structs.asdict(event)
    if not isinstance(event, Mapping):
        return event
    if "session_id" in event and "sessionId" in event:
        raise ValueError("session_id and sessionId are the same field; pass one of them")
    plain = {
        "sessionId" if name == "session_id" else name: value
        for name, value in event.items()
        if value is not UNSET
    }
    duration = plain.get("duration")
    if isinstance(duration, float) and duration.is_integer():
        plain["duration"] = int(duration)
    return plain
