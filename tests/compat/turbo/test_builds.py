"""Holds the server to what the real `turbo` needs of it, release by release.

After each test the `harness` also checks that what the server has recorded is exactly what it
accepted on the wire.
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

# Whether it has come, told by what has passed on the harness and the method of what is coming.
Moment = Callable[[TurboHarness, str], bool]


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

    again = harness.build()

    assert harness.repo.pop_executed_tasks() == set()
    assert again.event_counts() == {("LOCAL", "HIT"): COUNT}
    assert again.durations("LOCAL") == cold.uploaded_durations()
    assert again.uploads + again.downloads == []


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

    distrusting = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert distrusting.event_counts() == {("LOCAL", "MISS"): COUNT}

    _simulate_new_machine(harness)
    trusting = harness.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert harness.repo.pop_executed_tasks() == set()
    assert trusting.durations("REMOTE") == distrusting.uploaded_durations()


def test_requests_after_a_preflight_are_authorized(harness: TurboHarness) -> None:
    cold = harness.build(TURBO_PREFLIGHT="true")
    _simulate_new_machine(harness)
    remote = harness.build(TURBO_PREFLIGHT="true")

    assert harness.repo.pop_executed_tasks() == set()
    assert _preflights(cold) == _asked_for([*cold.downloads, *cold.uploads, *cold.requests("POST")])
    assert _preflights(remote) == _asked_for([*remote.downloads, *remote.requests("POST")])
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
    refused = harness.with_token(read_only_token).build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert refused.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert {upload.status for upload in refused.uploads} == {403}
    assert _stored(harness, refused.downloads) == set()


def test_build_succeeds_without_the_cache_with_an_unknown_token(harness: TurboHarness) -> None:
    refused = harness.with_token("unknown").build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert {exchange.status for exchange in refused.exchanges} == {401}
    assert refused.events == []


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
    "moment",
    [_at_the_first_upload, _after_the_first_events],
    ids=["at the first upload", "after the first events"],
)
def test_server_kill_during_a_build_loses_neither_the_build_nor_acknowledged_uploads(
    killable_harness: TurboHarness, moment: Moment
) -> None:
    harness = killable_harness
    harness.proxy.before_forwarding = _killer(harness, moment)
    interrupted = harness.build()
    harness.proxy.before_forwarding = None

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert None in {exchange.status for exchange in interrupted.exchanges}

    harness.server.start()
    acknowledged = {_hash(upload) for upload in interrupted.uploads if upload.status == 202}
    assert acknowledged <= _stored(harness, interrupted.uploads)


def _simulate_new_machine(harness: TurboHarness) -> None:
    """As if on another machine, with the server that this one has filled."""
    harness.repo.delete_builds()
    harness.repo.pop_executed_tasks()


def _is_chunked(upload: Exchange) -> bool:
    chunked = upload.request_headers["transfer-encoding"] == "chunked"
    assert chunked == (upload.request_headers["content-length"] is None)
    return chunked


def _time_saved_in_dry_run(build: Build) -> dict[str, int]:
    """What a dry run says of each task that the remote cache has, by hash."""
    tasks = json.loads(build.run.stdout)["tasks"]
    found = [task for task in tasks if task["cache"]["remote"]]
    return {task["hash"]: task["cache"]["timeSaved"] for task in found}


def _preflights(build: Build) -> set[tuple[str | None, str]]:
    """The methods and paths for which a build asked in advance."""
    asked = build.requests("OPTIONS")
    return {(ask.request_headers["access-control-request-method"], ask.path) for ask in asked}


def _asked_for(requests: list[Exchange]) -> set[tuple[str | None, str]]:
    return {(request.method, request.path) for request in requests}


def _hash(exchange: Exchange) -> str:
    return exchange.path.rpartition("/")[2]


def _stored(harness: TurboHarness, exchanges: list[Exchange]) -> set[str]:
    """Those of the exchanges' artifacts that the server has, by hash."""
    hashes = sorted({_hash(exchange) for exchange in exchanges})
    answer = harness.server.request("POST", "/v8/artifacts", json={"hashes": hashes})
    return {found for found, facts in answer.json().items() if facts is not None}


def _killer(harness: TurboHarness, moment: Moment) -> Callable[[str, str], None]:
    """Kills the server once, before the first request to come at the moment is passed on."""
    strokes = itertools.count()

    def kill(method: str, _path: str) -> None:
        if moment(harness, method) and next(strokes) == 0:
            harness.server.kill()

    return kill
