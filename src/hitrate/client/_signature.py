"""Artifact signatures, as `turbo` creates them with TURBO_REMOTE_CACHE_SIGNATURE_KEY.

The server stores and returns signatures but never has the key. Someone who can upload but does not
know the key cannot create an artifact that is restored.
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path

KEY = "TURBO_REMOTE_CACHE_SIGNATURE_KEY"
_VERSION = b"artifact-signature:v2"
_LENGTH_BYTES = 8


def signature(key: str, artifact_hash: str, team_id: str | None, content: Path) -> str:
    """Return the tag: base64 of an HMAC-SHA256 over the parts, each preceded by its length."""
    mac = hmac.new(os.fsencode(key), digestmod=hashlib.sha256)
    for part in (_VERSION, artifact_hash.encode(), (team_id or "").encode()):
        mac.update(_length(len(part)) + part)
    with content.open("rb") as file:
        mac.update(_length(content.stat().st_size))
        while chunk := file.read(1024 * 1024):
            mac.update(chunk)
    return base64.b64encode(mac.digest()).decode()


def _length(size: int) -> bytes:
    return size.to_bytes(_LENGTH_BYTES, "little")
