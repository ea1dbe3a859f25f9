"""An artifact, its key, and what the wire says of both."""

import math
import re
from typing import NamedTuple

import msgspec

from hitrate.errors import BadRequest
from hitrate.http.asgi import Header, Request

_HASH = re.compile(r"[A-Za-z0-9_-]{1,256}")
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,3})?")
_TAG_MOST = 600
_GIT_MOST = 128


class Key(NamedTuple):
    """Two teams' artifacts never meet, whatever their hashes."""

    team_id: str
    hash: str


class Artifact(msgspec.Struct, frozen=True, gc=False):
    """One stored artifact: its file's name and all that was said of it when it was uploaded."""

    key: Key
    blob: str
    size_bytes: int
    duration_ms: float | None
    tag: str | None
    sha: str | None
    dirty_hash: str | None
    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str
    created_at_ms: int

    def headers(self) -> tuple[Header, ...]:
        """The metadata as it is echoed to a client that downloads."""
        named = (
            (b"x-artifact-duration", number_text(self.duration_ms)),
            (b"x-artifact-tag", self.tag),
            (b"x-artifact-sha", self.sha),
            (b"x-artifact-dirty-hash", self.dirty_hash),
        )
        return tuple((name, text.encode("latin-1")) for name, text in named if text is not None)


class Upload(NamedTuple):
    """What the headers of an upload say of the artifact."""

    duration_ms: float | None
    tag: str | None
    sha: str | None
    dirty_hash: str | None


def hash_problem(text: str) -> str | None:
    """Why this cannot be the hash of an artifact, or None."""
    if _HASH.fullmatch(text):
        return None
    return (
        "The artifact's hash must be 1 to 256 letters, digits, '-' or '_'; "
        f"got {text[:80]!a} ({len(text)} characters)."
    )


def hash_of(request: Request) -> str:
    """The hash in the path. Raises BadRequest."""
    text = request.path.split("/artifacts/", 1)[1]
    if problem := hash_problem(text):
        raise BadRequest(problem)
    return text


def upload_of(request: Request) -> Upload:
    """The metadata in the headers of an upload. Raises BadRequest."""
    return Upload(
        _number(request.text_header(b"x-artifact-duration")),
        _limited(request, b"x-artifact-tag", _TAG_MOST),
        _limited(request, b"x-artifact-sha", _GIT_MOST),
        _limited(request, b"x-artifact-dirty-hash", _GIT_MOST),
    )


def number_text(value: float | None) -> str | None:
    """`400` for 400.0, `0.5` for 0.5."""
    if value is None:
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise BadRequest(
            f"The header x-artifact-duration must be a number of milliseconds, got {text[:40]!a}."
        )
    return value


def _limited(request: Request, name: bytes, most: int) -> str | None:
    text = request.text_header(name)
    if text is not None and len(text) > most:
        raise BadRequest(
            f"The header {name.decode()} has {len(text)} characters; send at most {most}."
        )
    return text
