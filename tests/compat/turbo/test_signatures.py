"""The client's signatures equal those of the real turbo."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitrate.client._signature import signature
from tests.compat.conftest import HarnessFactory
from tests.support.server import Server
from tests.support.turbo_harness import RELEASES

KEY = "a signature key, at least 32 bytes long"


# Older releases use another format, which the client does not support.
@pytest.mark.parametrize("release", RELEASES[-1:], ids=["turbo"], indirect=True)
def test_signature_equals_that_of_turbo(
    create_harness: HarnessFactory, shared_server: Server, tmp_path: Path
) -> None:
    with create_harness(shared_server) as harness:
        harness.repo.configure_remote_cache(signature=True)
        uploads = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=KEY).uploads
    assert uploads
    for upload in uploads:
        artifact = tmp_path / "artifact"
        artifact.write_bytes(upload.request_body)
        artifact_hash = upload.path.rsplit("/", 1)[1]
        tag = upload.request_headers["x-artifact-tag"]
        assert signature(KEY, artifact_hash, None, artifact) == tag
