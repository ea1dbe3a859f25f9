"""Builds with each release of the real `turbo`.

After each test the `harness` also checks that the server recorded exactly the events that it
accepted.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest

from tests.support.monorepo import SLOW_TASK_MS, all_tasks
from tests.support.recording_proxy import Exchange
from tests.support.turbo_harness import Build, TurboHarness, accepted_events

COUNT = len(all_tasks())
SIGNATURE_KEY = "a signature key, at least 32 bytes long"
OTHER_SIGNATURE_KEY = "another signature key, of 32 bytes or more"

# Returns whether to kill the server, from the exchanges so far and the method of the next request.
KillCondition = Callable[[TurboHarness, str], bool]


def test_cold_build_misses_both_caches_and_uploads_every_task(harness: TurboHarness) -> None:
    cold = harness.build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert cold.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert [upload.status for upload in cold.uploads] == [202] * COUNT
    assert {_is_chunked(upload) for upload in cold.uploads} == {harness.release.chunks_uploads}


def test_build_on_another_machine_hits_remotely_and_runs_no_task(harness: TurboHarness) -> None:
    cold = harness.build()
    outputs = harness.repo.outputs()
    _simulate_new_machine(harness)

    remote = harness.build()

    assert harness.repo.pop_executed_tasks() == set()
    assert remote.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}
    assert remote.uploads == []
    assert harness.repo.outputs() == outputs
    uploaded = {upload.path: upload.request_body for upload in cold.uploads}
    assert {download.path: download.response_body for download in remote.downloads} == uploaded


def test_remote_hit_reports_the_duration_of_the_uploading_run(
    harness: TurboHarness,
) -> None:
    cold = harness.build()
    _simulate_new_machine(harness)

    remote = harness.build()

    durations = remote.durations("REMOTE")
    assert durations == cold.uploaded_durations()
    assert min(durations.values()) > 0
    assert max(durations.values()) >= SLOW_TASK_MS


def test_repeated_build_hits_locally_and_requests_no_artifact(harness: TurboHarness) -> None:
    cold = harness.build()
    harness.repo.pop_executed_tasks()

    repeated = harness.build()

    assert harness.repo.pop_executed_tasks() == set()
    assert repeated.event_counts() == {("LOCAL", "HIT"): COUNT}
    assert repeated.durations("LOCAL") == cold.uploaded_durations()
    assert repeated.uploads + repeated.downloads == []


def test_source_change_misses_only_in_dependent_tasks(harness: TurboHarness) -> None:
    harness.build()
    _simulate_new_machine(harness)
    harness.repo.edit("app-1")

    changed = harness.build()

    stale = {"app-1#build", "app-1#lint"}
    assert harness.repo.pop_executed_tasks() == stale
    assert changed.event_counts() == {
        ("LOCAL", "MISS"): COUNT,
        ("REMOTE", "HIT"): COUNT - len(stale),
        ("REMOTE", "MISS"): len(stale),
    }


def test_forced_build_records_no_events_and_uploads_again(harness: TurboHarness) -> None:
    harness.build()
    _simulate_new_machine(harness)

    forced = harness.build("--force")

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert forced.requests("POST") == []
    assert [upload.status for upload in forced.uploads] == [202] * COUNT


def test_dry_run_queries_the_cache_and_records_no_events(harness: TurboHarness) -> None:
    cold = harness.build()
    _simulate_new_machine(harness)

    dry = harness.build("--dry=json")

    assert harness.repo.pop_executed_tasks() == set()
    assert dry.events == []
    assert _time_saved_in_dry_run(dry) == cold.uploaded_durations()
    method = "POST" if harness.release.queries_in_one_request else "HEAD"
    assert {request.method for request in dry.exchanges} - {"GET"} == {method}


def test_signed_artifacts_are_returned_with_their_tags(harness: TurboHarness) -> None:
    harness.repo.configure_remote_cache(signature=True)
    cold = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    _simulate_new_machine(harness)

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
    _simulate_new_machine(harness)

    with_other_key = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert with_other_key.event_counts() == {("LOCAL", "MISS"): COUNT}

    _simulate_new_machine(harness)
    with_same_key = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == set()
    assert with_same_key.durations("REMOTE") == with_other_key.uploaded_durations()


def test_requests_after_a_preflight_are_authorized(harness: TurboHarness) -> None:
    cold = harness.build(TURBO_PREFLIGHT="true")
    _simulate_new_machine(harness)
    remote = harness.build(TURBO_PREFLIGHT="true")

    assert harness.repo.pop_executed_tasks() == set()
    assert _preflights(cold) == _method_paths(
        [*cold.downloads, *cold.uploads, *cold.requests("POST")]
    )
    assert _preflights(remote) == _method_paths([*remote.downloads, *remote.requests("POST")])
    for request in cold.uploads + remote.downloads + remote.requests("POST"):
        assert request.request_headers["authorization"] == f"Bearer {harness.token}"


def test_read_only_token_downloads_and_records_hits(
    harness: TurboHarness, read_only_token: str
) -> None:
    harness.build()
    _simulate_new_machine(harness)

    remote = harness.with_token(read_only_token).build()

    assert harness.repo.pop_executed_tasks() == set()
    assert remote.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}


def test_read_only_token_stores_nothing_and_records_misses(
    harness: TurboHarness, read_only_token: str
) -> None:
    rejected = harness.with_token(read_only_token).build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert rejected.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert {upload.status for upload in rejected.uploads} == {403}
    assert _stored(harness, rejected.downloads) == set()


def test_build_succeeds_without_the_cache_with_an_unknown_token(harness: TurboHarness) -> None:
    rejected = harness.with_token("unknown").build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert {exchange.status for exchange in rejected.exchanges} == {401}
    assert rejected.events == []


def test_ci_and_coding_agent_are_recorded_with_events(harness: TurboHarness) -> None:
    build = harness.build(CI="true", GITHUB_ACTIONS="true", CLAUDECODE="1")
    harness.wait_until_recorded()

    posts = build.requests("POST")
    [agent] = {post.request_headers["x-ai-agent"] for post in posts}
    assert {post.request_headers["x-artifact-client-ci"] for post in posts} == {"GITHUB_ACTIONS"}
    assert (agent is not None) == harness.release.names_coding_agent
    [session] = {event["sessionId"] for event in build.events}
    recorded = harness.server.events(sessionId=session)
    assert [(event["ci"], event["agent"]) for event in recorded] == [("GITHUB_ACTIONS", agent)] * (
        COUNT * 2
    )


def _at_the_first_upload(_bench: TurboHarness, method: str) -> bool:
    return method == "PUT"


def _after_the_first_events(harness: TurboHarness, _method: str) -> bool:
    return accepted_events(harness.proxy.exchanges) != []


@pytest.mark.parametrize(
    "condition",
    [_at_the_first_upload, _after_the_first_events],
    ids=["at the first upload", "after the first events"],
)
def test_server_kill_during_a_build_loses_neither_the_build_nor_acknowledged_uploads(
    killable_harness: TurboHarness, condition: KillCondition
) -> None:
    harness = killable_harness
    harness.proxy.before_forwarding = _kill_once(harness, condition)
    interrupted = harness.build()
    harness.proxy.before_forwarding = None

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert None in {exchange.status for exchange in interrupted.exchanges}

    harness.server.start()
    acknowledged = {_hash(upload) for upload in interrupted.uploads if upload.status == 202}
    assert acknowledged <= _stored(harness, interrupted.uploads)


def _simulate_new_machine(harness: TurboHarness) -> None:
    """Delete everything that builds left here, so that only the server has artifacts."""
    harness.repo.delete_builds()
    harness.repo.pop_executed_tasks()


def _is_chunked(upload: Exchange) -> bool:
    chunked = upload.request_headers["transfer-encoding"] == "chunked"
    assert chunked == (upload.request_headers["content-length"] is None)
    return chunked


def _time_saved_in_dry_run(build: Build) -> dict[str, int]:
    """Return the saved time that a dry run reports for each remotely cached task, by hash."""
    tasks = json.loads(build.run.stdout)["tasks"]
    cached = [task for task in tasks if task["cache"]["remote"]]
    return {task["hash"]: task["cache"]["timeSaved"] for task in cached}


def _preflights(build: Build) -> set[tuple[str | None, str]]:
    """Return the methods and paths of a build's preflight requests."""
    preflights = build.requests("OPTIONS")
    return {(one.request_headers["access-control-request-method"], one.path) for one in preflights}


def _method_paths(requests: list[Exchange]) -> set[tuple[str | None, str]]:
    return {(request.method, request.path) for request in requests}


def _hash(exchange: Exchange) -> str:
    return exchange.path.rpartition("/")[2]


def _stored(harness: TurboHarness, exchanges: list[Exchange]) -> set[str]:
    """Return the hashes of the exchanges' artifacts that the server has."""
    hashes = sorted({_hash(exchange) for exchange in exchanges})
    response = harness.server.request("POST", "/v8/artifacts", json={"hashes": hashes})
    return {name for name, info in response.json().items() if info is not None}


def _kill_once(harness: TurboHarness, condition: KillCondition) -> Callable[[str, str], None]:
    """Return a proxy hook that kills the server once, before a request that meets a condition."""
    kills = itertools.count()

    def kill(method: str, _path: str) -> None:
        if condition(harness, method) and next(kills) == 0:
            harness.server.kill()

    return kill
