"""Counts of turbo runs from three sources: turbo's summary, the events, and the server's reports.

turbo writes a summary to `.turbo/runs/*.json`: `attempted` counts its tasks, and `cached` counts
those that it took from the local or the remote cache. Each task names its cache and the time saved.
So `attempted` and `cached` equal the tasks and hits of a run if all of its events arrived.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.support.monorepo import Monorepo
from tests.support.server import Server
from tests.support.turbo_harness import Build, TurboHarness


class RunCounts(NamedTuple):
    """Counts of one run, or sums over several runs."""

    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    misses: int = 0
    local_ms: int = 0
    remote_ms: int = 0


NO_COUNTS = RunCounts()


@dataclass(frozen=True)
class CountedBuild(Build):
    """A build with the counts of turbo's summary."""

    turbo_counts: RunCounts

    @property
    def session(self) -> str:
        """The session id of its events. Fails if there are none."""
        [session] = {event["sessionId"] for event in self.events}
        return str(session)


def build_with_summary(harness: TurboHarness, *flags: str, **env: str) -> CountedBuild:
    """Run all tasks with turbo, which writes a summary."""
    build = harness.build("--summarize", *flags, **env)
    return CountedBuild(build.run, build.exchanges, _read_turbo_summary(harness.repo))


def _read_turbo_summary(repo: Monorepo) -> RunCounts:
    """Return the counts of the only summary, and delete it."""
    [path] = (repo.root / ".turbo" / "runs").glob("*.json")
    summary = json.loads(path.read_text())
    path.unlink()
    tasks = [task["cache"] for task in summary["tasks"]]
    counts = _count_tasks(
        (cache["source"] if cache["status"] == "HIT" else "MISS", cache.get("timeSaved", 0))
        for cache in tasks
    )
    assert summary["execution"]["attempted"] == counts.tasks
    assert summary["execution"]["cached"] == counts.local_hits + counts.remote_hits
    return counts


def counts_from_events(events: Iterable[dict[str, Any]]) -> RunCounts:
    """Return the counts of one run's events, by an independent and simple algorithm."""
    tasks: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for event in events:
        tasks[event["hash"]][event["source"], event["event"]] = event["duration"]
    return _count_tasks(_outcome(durations) for durations in tasks.values())


def counts_from_server(server: Server, session: str) -> RunCounts:
    """Return the server's counts of a run, after checking them against the run's tasks."""
    run = _get(server, f"/v1/runs/{session}")
    assert run["nextCursor"] is None
    caches = {"local_hit": "LOCAL", "remote_hit": "REMOTE", "miss": "MISS"}
    counts = _count_tasks((caches[task["outcome"]], task["timeSavedMs"]) for task in run["tasks"])
    assert counts == _counts_from_json(run["run"])
    return counts


def team_counts_from_server(server: Server) -> RunCounts:
    """Return the sums over all runs of a team, after checking them against the list of runs."""
    summary, runs = _get(server, "/v1/analytics/summary"), counts_by_session(server)
    assert summary["runs"] == len(runs)
    assert _counts_from_json(summary) == sum_counts(runs.values())
    return _counts_from_json(summary)


def counts_by_session(server: Server) -> dict[str, RunCounts]:
    """Return the counts of the listed runs by session, newest first."""
    page = _get(server, "/v1/runs")
    assert page["nextCursor"] is None
    return {run["sessionId"]: _counts_from_json(run) for run in page["runs"]}


def check_counts(harness: TurboHarness, build: CountedBuild, expected: RunCounts) -> None:
    """Check the counts of a build in turbo's summary, its events and the server's reports."""
    assert build.turbo_counts == expected
    assert counts_from_events(build.events) == expected
    assert counts_from_server(harness.server, build.session) == expected
    assert counts_by_session(harness.server)[build.session] == expected


def artifact_traffic(server: Server) -> dict[str, int]:
    """Return the numbers and bytes of uploads, downloads and stored artifacts."""
    artifacts: dict[str, int] = _get(server, "/v1/analytics/summary")["artifacts"]
    return artifacts


def artifact_producers(server: Server) -> dict[str, str | None]:
    """Return the session that produced each stored artifact, by hash."""
    artifacts = _get(server, "/v1/artifacts", limit=1000)["artifacts"]
    return {artifact["hash"]: artifact["producedBy"] for artifact in artifacts}


def sum_counts(counts: Iterable[RunCounts]) -> RunCounts:
    """Return the sums of counts."""
    return RunCounts(*(sum(column) for column in zip(NO_COUNTS, *counts, strict=True)))


def local_cache_durations(repo: Monorepo) -> dict[str, int]:
    """Return the duration of each task in turbo's local cache, in milliseconds by hash."""
    directories = (repo.root / ".turbo" / "cache", repo.root / "node_modules" / ".cache")
    files = [file for directory in directories for file in directory.rglob("*-meta.json")]
    return {
        file.name.removesuffix("-meta.json"): json.loads(file.read_text())["duration"]
        for file in files
    }


def _get(server: Server, path: str, **params: Any) -> Any:
    response = server.request("GET", path, params={"fresh": "true", **params})
    assert response.status_code == 200, response.text
    return response.json()


def _counts_from_json(counts: dict[str, Any]) -> RunCounts:
    return RunCounts(
        counts["tasks"],
        counts["localHits"],
        counts["remoteHits"],
        counts["misses"],
        counts["timeSavedMs"]["local"],
        counts["timeSavedMs"]["remote"],
    )


def _outcome(durations: dict[tuple[str, str], int]) -> tuple[str, int]:
    """Return the cache of a task's hit and its duration, from durations by source and event."""
    for source in ("LOCAL", "REMOTE"):
        if (source, "HIT") in durations:
            return source, durations[source, "HIT"]
    return "MISS", 0


def _count_tasks(tasks: Iterable[tuple[str, int]]) -> RunCounts:
    """Return the counts of tasks: for each the cache with a hit, or MISS, and the saved time."""
    saved_ms: dict[str, list[int]] = {"LOCAL": [], "REMOTE": [], "MISS": []}
    for cache, task_saved_ms in tasks:
        saved_ms[cache].append(task_saved_ms)
    local, remote, missed = saved_ms["LOCAL"], saved_ms["REMOTE"], saved_ms["MISS"]
    assert sum(missed) == 0
    count = len(local) + len(remote) + len(missed)
    return RunCounts(count, len(local), len(remote), len(missed), sum(local), sum(remote))
