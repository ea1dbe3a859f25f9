"""What goes over the wire, as the contract of `/v8/artifacts` names it.

Source: Vercel's OpenAPI of the artifacts operations; the names are those of its SDKs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from hitrate.client.errors import BadRequest


class Source(StrEnum):
    """Where a task was looked for: this machine's own cache, or the remote one."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


class Event(StrEnum):
    """What came of it."""

    HIT = "HIT"
    MISS = "MISS"


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
                  rename="camel", omit_defaults=True):  # fmt: skip
    """One cache usage event.

    `session_id`: a UUID shared by all events of one run. `hash`: the artifact's. `duration`: the
    milliseconds that making the artifact took, given with a HIT.
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
"""A RequestBody, or a mapping with its names, as the contract writes them or as Python does."""


class CachingStatus(StrEnum):
    """Whether Remote Caching works for the token's team."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    OVER_LIMIT = "over_limit"
    PAUSED = "paused"


class StatusResponse(msgspec.Struct, frozen=True):
    """The answer to `status`."""

    status: CachingStatus


class UploadResponse(msgspec.Struct, frozen=True):
    """The answer to `upload`: where the artifact stands."""

    urls: list[str]


class DeleteResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `delete_all`."""

    deleted_count: int


class ArtifactInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What `query` says of an artifact that is there. `size` in bytes."""

    size: int
    task_duration_ms: int | float = 0
    tag: str | None = None


class ArtifactProblem(msgspec.Struct, frozen=True):
    """What `query` says of a hash that it cannot answer for."""

    message: str


QueryResponse = dict[str, ArtifactInfo | ArtifactProblem | None]
"""The answer to `query`: None for an artifact that is not there."""


class ArtifactMetadata(msgspec.Struct, frozen=True):
    """What was stored with an artifact; None for what was not.

    `sha`: the git commit it was built from; `dirty_hash`: of the changes on top of that.
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


def encoded_events(events: Sequence[EventLike]) -> bytes:
    """The body of recordEvents: a JSON array, without blanks.

    Raises BadRequest for values that the contract does not allow: what, and where.
    """
    items = enumerate(_listed(events))
    return b"[" + b",".join(_encoded(event, index) for index, event in items) + b"]"


def _listed(events: object) -> Iterable[Any]:
    if not isinstance(events, Iterable) or isinstance(events, str | bytes | Mapping):
        raise BadRequest(f"request_body must be a list of events, not {type(events).__name__}.")
    return events


def _encoded(event: Any, index: int) -> bytes:
    try:
        return msgspec.json.encode(msgspec.convert(_plain(event), RequestBody))
    except (ValueError, TypeError, OverflowError) as error:
        where, said = f"$[{index}]", str(error)
        said = said.replace("`$", f"`{where}") if "`$" in said else f"{said} - at `{where}`"
        raise BadRequest(f"request_body: {said}. Nothing was sent.") from error


def _plain(event: Any) -> Any:
    """The event as the wire has it, still unchecked."""
    if isinstance(event, RequestBody):
        event = msgspec.structs.asdict(event)
    if not isinstance(event, Mapping):
        return event
    if "session_id" in event and "sessionId" in event:
        raise ValueError("session_id and sessionId are the same; give one")
    plain = {
        "sessionId" if name == "session_id" else name: value
        for name, value in event.items()
        if value is not UNSET
    }
    duration = plain.get("duration")
    if isinstance(duration, float) and duration.is_integer():
        plain["duration"] = int(duration)
    return plain
