"""Builds with each release of the real `turbo` and different tokens."""

from __future__ import annotations

from tests.support.monorepo import all_tasks
from tests.support.recording_proxy import Exchange
from tests.support.turbo_harness import Build, TurboHarness

COUNT = len(all_tasks())


def test_requests_after_a_preflight_are_authorized(harness: TurboHarness) -> None:
    cold = harness.build(TURBO_PREFLIGHT="true")
    harness.simulate_new_machine()
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
    harness.simulate_new_machine()

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
    assert harness.stored_hashes(rejected.downloads) == set()


def test_build_succeeds_without_the_cache_with_an_unknown_token(harness: TurboHarness) -> None:
    rejected = harness.with_token("unknown").build()

    assert harness.repo.pop_executed_tasks() == all_tasks()
    assert {exchange.status for exchange in rejected.exchanges} == {401}
    assert rejected.events == []


def _preflights(build: Build) -> set[tuple[str | None, str]]:
    """Return the methods and paths of a build's preflight requests."""
    preflights = build.requests("OPTIONS")
    return {(one.request_headers["access-control-request-method"], one.path) for one in preflights}


def _method_paths(requests: list[Exchange]) -> set[tuple[str | None, str]]:
    return {(request.method, request.path) for request in requests}
