"""Artifact metadata in HTTP: the `x-artifact-…` headers and the hash in the path."""

import math
import re
from typing import NamedTuple, Self

from hitrate.artifacts.models import Artifact, validate_hash
from hitrate.errors import BadRequest
from hitrate.http.asgi import Header, Request

_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,3})?")
_MAX_TAG_LENGTH = 600
_MAX_GIT_HASH_LENGTH = 128


class UploadMetadata(NamedTuple):
    """Metadata that an upload sends in its headers; all of it is optional."""

    duration_ms: float | None
    tag: str | None
    sha: str | None
    dirty_hash: str | None

    @classmethod
    def from_headers(cls, request: Request) -> Self:
        """Parse the metadata headers. Raises BadRequest."""
        return cls(
            _parse_duration(request.text_header(b"x-artifact-duration")),
            _bounded_text(request, b"x-artifact-tag", _MAX_TAG_LENGTH),
            _bounded_text(request, b"x-artifact-sha", _MAX_GIT_HASH_LENGTH),
            _bounded_text(request, b"x-artifact-dirty-hash", _MAX_GIT_HASH_LENGTH),
        )


def hash_from_path(request: Request) -> str:
    """Return the artifact hash in the request path. Raises BadRequest if it is invalid."""
    text = request.path.split("/artifacts/", 1)[1]
    if error := validate_hash(text):
        raise BadRequest(error)
    return text


def metadata_headers(artifact: Artifact) -> tuple[Header, ...]:
    """Return the metadata headers of a download, as they were sent with the upload."""
    headers = (
        (b"x-artifact-duration", _format_duration(artifact.duration_ms)),
        (b"x-artifact-tag", artifact.tag),
        (b"x-artifact-sha", artifact.sha),
        (b"x-artifact-dirty-hash", artifact.dirty_hash),
    )
    return tuple((name, text.encode("latin-1")) for name, text in headers if text is not None)


def _format_duration(value: float | None) -> str | None:
    """Format 400.0 as `400` and 0.5 as `0.5`."""
    if value is None:
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def _parse_duration(text: str | None) -> float | None:
    if text is None:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise BadRequest(
            f"The header x-artifact-duration must be a number of milliseconds, got {text[:40]!a}."
        )
    return value


def _bounded_text(request: Request, name: bytes, max_length: int) -> str | None:
    text = request.text_header(name)
    if text is not None and len(text) > max_length:
        raise BadRequest(
            f"The header {name.decode()} has {len(text)} characters; send at most {max_length}."
        )
    return text
