"""Artifacts: key, metadata, and the references that other modules pass around."""

import re
from typing import NamedTuple

import msgspec

_HASH = re.compile(r"[A-Za-z0-9_-]{1,256}")


class ArtifactKey(NamedTuple):
    """Identifies an artifact. Two teams may store different artifacts under the same hash."""

    team_id: str
    hash: str


class BlobRef(NamedTuple):
    """The body of an artifact: enough of an index row to check or remove the file."""

    key: ArtifactKey
    blob: str
    size_bytes: int


class CacheUsage(NamedTuple):
    """How much is stored, for one team or for all."""

    artifacts: int
    size_bytes: int


class Artifact(msgspec.Struct, frozen=True, gc=False):
    """A stored artifact: the name of its body and the metadata sent with its upload."""

    key: ArtifactKey
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

    @property
    def blob_ref(self) -> BlobRef:
        """Reference to the body."""
        return BlobRef(self.key, self.blob, self.size_bytes)


def validate_hash(text: str) -> str | None:
    """Return an error message if the text is not a valid artifact hash, else None."""
    if _HASH.fullmatch(text):
        return None
    return (
        "The artifact hash must be 1 to 256 letters, digits, '-' or '_'; "
        f"got {text[:80]!a} ({len(text)} characters)."
    )
