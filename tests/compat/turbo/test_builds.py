"""Holds the server to what the real `turbo` needs of it, release by release.

After each test the `bench` also checks that what the server has recorded is exactly what it
accepted on the wire.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest

from tests.support.monorepo import SLOW_TASK_MS, all_tasks
from tests.support.recording_proxy import Exchange
from tests.support.turbo_harness import Build, Workbench, accepted_events

COUNT = len(all_tasks())
SIGNATURE_KEY = "a signature key, at least 32 bytes long"
OTHER_SIGNATURE_KEY = "another signature key, of 32 bytes or more"

# Whether it has come, told by what has passed on the bench and the method of what is coming.
Moment = Callable[[Workbench, str], bool]


def test_a_cold_build_misses_in_both_caches_and_uploads_every_task(bench: Workbench) -> None:
    cold = bench.build()

    assert bench.repo.executed() == all_tasks()
    assert cold.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert [upload.status for upload in cold.uploads] == [202] * COUNT
    assert {_is_chunked(upload) for upload in cold.uploads} == {bench.release.chunks_uploads}


def test_a_build_elsewhere_hits_remotely_and_runs_nothing(bench: Workbench) -> None:
    cold = bench.build()
    outputs = bench.repo.outputs()
    _start_afresh(bench)

    remote = bench.build()

    assert bench.repo.executed() == set()
    assert remote.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}
    assert remote.uploads == []
    assert bench.repo.outputs() == outputs
    uploaded = {upload.path: upload.request_body for upload in cold.uploads}
    assert {download.path: download.response_body for download in remote.downloads} == uploaded


def test_a_remote_hit_reports_the_duration_of_the_run_that_made_the_artifact(
    bench: Workbench,
) -> None:
    cold = bench.build()
    _start_afresh(bench)

    remote = bench.build()

    durations = remote.durations("REMOTE")
    assert durations == cold.uploaded_durations()
    assert min(durations.values()) > 0
    assert max(durations.values()) >= SLOW_TASK_MS


def test_a_build_again_hits_locally_and_asks_for_no_artifact(bench: Workbench) -> None:
    cold = bench.build()
    bench.repo.executed()

    again = bench.build()

    assert bench.repo.executed() == set()
    assert again.kinds() == {("LOCAL", "HIT"): COUNT}
    assert again.durations("LOCAL") == cold.uploaded_durations()
    assert again.uploads + again.downloads == []


def test_a_change_misses_only_in_what_depends_on_it(bench: Workbench) -> None:
    bench.build()
    _start_afresh(bench)
    bench.repo.edit("app-1")

    changed = bench.build()

    stale = {"app-1#build", "app-1#lint"}
    assert bench.repo.executed() == stale
    assert changed.kinds() == {
        ("LOCAL", "MISS"): COUNT,
        ("REMOTE", "HIT"): COUNT - len(stale),
        ("REMOTE", "MISS"): len(stale),
    }


def test_a_forced_build_records_nothing_and_uploads_anew(bench: Workbench) -> None:
    bench.build()
    _start_afresh(bench)

    forced = bench.build("--force")

    assert bench.repo.executed() == all_tasks()
    assert forced.requests("POST") == []
    assert [upload.status for upload in forced.uploads] == [202] * COUNT


def test_a_dry_run_learns_what_is_cached_and_records_nothing(bench: Workbench) -> None:
    cold = bench.build()
    _start_afresh(bench)

    dry = bench.build("--dry=json")

    assert bench.repo.executed() == set()
    assert dry.events == []
    assert _time_saved_in_dry_run(dry) == cold.uploaded_durations()
    method = "POST" if bench.release.queries_in_one_request else "HEAD"
    assert {request.method for request in dry.exchanges} - {"GET"} == {method}


def test_signed_artifacts_come_back_with_their_tags_and_hit(bench: Workbench) -> None:
    bench.repo.configure_remote_cache(signature=True)
    cold = bench.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    _start_afresh(bench)

    remote = bench.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)

    assert bench.repo.executed() == set()
    assert remote.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}
    sent = {upload.path: upload.request_headers["x-artifact-tag"] for upload in cold.uploads}
    assert all(sent.values())
    assert {get.path: get.response_headers["x-artifact-tag"] for get in remote.downloads} == sent


def test_a_wrong_signature_is_a_miss_and_the_artifact_made_again_replaces_the_other(
    bench: Workbench,
) -> None:
    bench.repo.configure_remote_cache(signature=True)
    bench.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=SIGNATURE_KEY)
    _start_afresh(bench)

    distrusting = bench.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert bench.repo.executed() == all_tasks()
    assert distrusting.kinds() == {("LOCAL", "MISS"): COUNT}

    _start_afresh(bench)
    trusting = bench.build(TURBO_REMOTE_CACHE_SIGNATURE_KEY=OTHER_SIGNATURE_KEY)

    assert bench.repo.executed() == set()
    assert trusting.durations("REMOTE") == distrusting.uploaded_durations()


def test_after_a_preflight_requests_still_arrive_authorized(bench: Workbench) -> None:
    cold = bench.build(TURBO_PREFLIGHT="true")
    _start_afresh(bench)
    remote = bench.build(TURBO_PREFLIGHT="true")

    assert bench.repo.executed() == set()
    assert _preflights(cold) == _asked_for([*cold.downloads, *cold.uploads, *cold.requests("POST")])
    assert _preflights(remote) == _asked_for([*remote.downloads, *remote.requests("POST")])
    for request in cold.uploads + remote.downloads + remote.requests("POST"):
        assert request.request_headers["authorization"] == f"Bearer {bench.token}"


def test_a_read_only_token_downloads_and_records_its_hits(
    bench: Workbench, read_only_token: str
) -> None:
    bench.build()
    _start_afresh(bench)

    remote = bench.with_token(read_only_token).build()

    assert bench.repo.executed() == set()
    assert remote.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "HIT"): COUNT}


def test_a_read_only_token_stores_nothing_and_records_its_misses(
    bench: Workbench, read_only_token: str
) -> None:
    refused = bench.with_token(read_only_token).build()

    assert bench.repo.executed() == all_tasks()
    assert refused.kinds() == {("LOCAL", "MISS"): COUNT, ("REMOTE", "MISS"): COUNT}
    assert {upload.status for upload in refused.uploads} == {403}
    assert _stored(bench, refused.downloads) == set()


def test_an_unknown_token_costs_the_cache_but_not_the_build(bench: Workbench) -> None:
    refused = bench.with_token("unknown").build()

    assert bench.repo.executed() == all_tasks()
    assert {exchange.status for exchange in refused.exchanges} == {401}
    assert refused.events == []


def test_the_ci_and_the_coding_agent_are_recorded_with_the_events(bench: Workbench) -> None:
    build = bench.build(CI="true", GITHUB_ACTIONS="true", CLAUDECODE="1")
    bench.settle()

    posts = build.requests("POST")
    [agent] = {post.request_headers["x-ai-agent"] for post in posts}
    assert {post.request_headers["x-artifact-client-ci"] for post in posts} == {"GITHUB_ACTIONS"}
    assert (agent is not None) == bench.release.names_coding_agent
    [session] = {event["sessionId"] for event in build.events}
    recorded = bench.server.events(sessionId=session)
    assert [(event["ci"], event["agent"]) for event in recorded] == [("GITHUB_ACTIONS", agent)] * (
        COUNT * 2
    )


def _at_the_first_upload(_bench: Workbench, method: str) -> bool:
    return method == "PUT"


def _after_the_first_events(bench: Workbench, _method: str) -> bool:
    return accepted_events(bench.proxy.exchanges) != []


@pytest.mark.parametrize(
    "moment",
    [_at_the_first_upload, _after_the_first_events],
    ids=["at the first upload", "after the first events"],
)
def test_a_server_killed_during_a_build_costs_neither_the_build_nor_what_it_acknowledged(
    mortal_bench: Workbench, moment: Moment
) -> None:
    bench = mortal_bench
    bench.proxy.before_forwarding = _killer(bench, moment)
    interrupted = bench.build()
    bench.proxy.before_forwarding = None

    assert bench.repo.executed() == all_tasks()
    assert None in {exchange.status for exchange in interrupted.exchanges}

    bench.server.start()
    acknowledged = {_hash(upload) for upload in interrupted.uploads if upload.status == 202}
    assert acknowledged <= _stored(bench, interrupted.uploads)


def _start_afresh(bench: Workbench) -> None:
    """As if on another machine, with the server that this one has filled."""
    bench.repo.forget_builds()
    bench.repo.executed()


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


def _stored(bench: Workbench, exchanges: list[Exchange]) -> set[str]:
    """Those of the exchanges' artifacts that the server has, by hash."""
    hashes = sorted({_hash(exchange) for exchange in exchanges})
    answer = bench.server.request("POST", "/v8/artifacts", json={"hashes": hashes})
    return {found for found, facts in answer.json().items() if facts is not None}


def _killer(bench: Workbench, moment: Moment) -> Callable[[str, str], None]:
    """Kills the server once, before the first request to come at the moment is passed on."""
    strokes = itertools.count()

    def kill(method: str, _path: str) -> None:
        if moment(bench, method) and next(strokes) == 0:
            bench.server.kill()

    return kill
