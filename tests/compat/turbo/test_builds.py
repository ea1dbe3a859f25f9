"""Builds with each release of the real `turbo`.

After each test the `harness` also checks that the server recorded exactly the events that it
accepted.
"""

from __future__ import annotations

import json

from tests.support.monorepo import SLOW_TASK_MS, all_tasks
from tests.support.recording_proxy import Exchange
from tests.support.turbo_harness import Build, TurboHarness

COUNT = len(all_tasks())


def test_cold_build_misses_both_caches_and_uploads_every_task(harness: TurboHarness) -> None:
    cold = harness.build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert cold.event_counts() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert [upload.status for upload in cold.uploads] == [202] * COUNT
    assert {_is_chunked(upload) for upload in cold.uploads} == {harness.release.chunks_uploads}


def test_build_on_another_machine_hits_remotely_and_runs_no_task(harness: TurboHarness) -> None:
    cold = harness.build()
    outputs = harness.repo.outputs()
    harness.simulate_new_machine()

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
    harness.simulate_new_machine()

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
    harness.simulate_new_machine()
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
    harness.simulate_new_machine()

    forced = harness.build("--force")

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert forced.requests("POST") == []
    assert [upload.status for upload in forced.uploads] == [202] * COUNT


def test_dry_run_queries_the_cache_and_records_no_events(harness: TurboHarness) -> None:
    cold = harness.build()
    harness.simulate_new_machine()

    dry = harness.build("--dry=json")

    assert harness.repo.pop_executed_tasks() == set()
    assert dry.events == []
    assert _time_saved_in_dry_run(dry) == cold.uploaded_durations()
    method = "POST" if harness.release.queries_in_one_request else "HEAD"
    assert {request.method for request in dry.exchanges} - {"GET"} == {method}


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


def _is_chunked(upload: Exchange) -> bool:
    chunked = upload.request_headers["transfer-encoding"] == "chunked"
    assert chunked == (upload.request_headers["content-length"] is None)
    return chunked


def _time_saved_in_dry_run(build: Build) -> dict[str, int]:
    """Return the saved time that a dry run reports for each remotely cached task, by hash."""
    tasks = json.loads(build.run.stdout)["tasks"]
    cached = [task for task in tasks if task["cache"]["remote"]]
    return {task["hash"]: task["cache"]["timeSaved"] for task in cached}
