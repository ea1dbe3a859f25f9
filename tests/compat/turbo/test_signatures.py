"""Signed artifacts of the real `turbo`, and signatures of the Python client."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitrate.client._signature import signature
from tests.compat.conftest import HarnessFactory
from tests.support.monorepo import all_tasks
from tests.support.server import Server
from tests.support.turbo_harness import RELEASES, TurboHarness

COUNT = len(all_tasks())
SIGNATURE_KEY = "a signature key, at least 32 bytes long"
OTHER_SIGNATURE_KEY = "another signature key, of 32 bytes or more"


def test_signed_artifacts_are_returned_with_their_tags(harness: TurboHarness) -> None:
    harness.repo.configure_remote_cache(signature=True)
    cold = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    harness.simulate_new_machine()

    remote = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == set()
    assert remote.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}
    sent = {upload.path: upload.request_headers["x-artifact-tag"] for upload in cold.uploads}
    assert all(sent.values())
    assert {get.path: get.response_headers["x-artifact-tag"] for get in remote.downloads} == sent


def test_wrong_signature_is_a_miss_and_the_rebuilt_artifact_replaces_the_old_one(
    harness: TurboHarness,
) -> None:
    harness.repo.configure_remote_cache(signature=True)
    harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    harness.simulate_new_machine()

    with_other_key = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert with_other_key.event_counts() == {("LOCAL", "MISS"): COUNT}

    harness.simulate_new_machine()
    with_same_key = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == set()
    assert with_same_key.durations("REMOTE") == with_other_key.uploaded_durations()


# Older releases use another format, which the client does not support.
@pytest.mark.parametrize("release", RELEASES[-1:], ids=["turbo"], indirect=True)
def test_signature_equals_that_of_turbo(
    create_harness: HarnessFactory, shared_server: Server, tmp_path: Path
) -> None:
    with create_harness(shared_server) as harness:
        harness.repo.configure_remote_cache(signature=True)
        uploads = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY).uploads
    assert uploads
    for upload in uploads:
        artifact = tmp_path / "artifact"
        artifact.write_bytes(upload.request_body)
        tag = upload.request_headers["x-artifact-tag"]
        assert signature(SIGNATURE_KEY, upload.artifact_hash, None, artifact) == tag
