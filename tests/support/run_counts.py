"""Owns what runs of turbo come to, as three tell it: turbo's own summary of a run, the events that
passed on the wire, and the server's reports.

What turbo says in `.turbo/runs/*.json`: `attempted` are the tasks that it looked at, `cached` those
it took from a cache, local or remote; each task says from which, and the time that it saved. So
`attempted` and `cached` are the tasks and hits of a run, where all of its events arrived.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.support.monorepo import Monorepo
from tests.support.server import Server
from tests.support.turbo_harness import Build, Workbench


class Numbers(NamedTuple):
    """Of a run, or of several together."""

    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    misses: int = 0
    local_ms: int = 0
    remote_ms: int = 0


NOTHING = Numbers()


@dataclass(frozen=True)
class CountedBuild(Build):
    """A build, and what turbo says of it."""

    turbo: Numbers

    @property
    def session(self) -> str:
        """The session of its events, which it must have sent."""
        [session] = {event["sessionId"] for event in self.events}
        return str(session)


def build(bench: Workbench, *flags: str, **env: str) -> CountedBuild:
    """Run all tasks with turbo, which is to tell what came of them."""
    done = bench.build("--summarize", *flags, **env)
    return CountedBuild(done.run, done.exchanges, _turbo_says(bench.repo))


def _turbo_says(repo: Monorepo) -> Numbers:
    """The numbers of the one summary that there is, which is removed."""
    [path] = (repo.root / ".turbo" / "runs").glob("*.json")
    summary = json.loads(path.read_text())
    path.unlink()
    tasks = [task["cache"] for task in summary["tasks"]]
    numbers = _sum(
        (cache["source"] if cache["status"] == "HIT" else "MISS", cache.get("timeSaved", 0))
        for cache in tasks
    )
    assert summary["execution"]["attempted"] == numbers.tasks
    assert summary["execution"]["cached"] == numbers.local_hits + numbers.remote_hits
    return numbers


def events_say(events: Iterable[dict[str, Any]]) -> Numbers:
    """The numbers of one run's events, counted as a person would: by task, then by what came."""
    tasks: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for event in events:
        tasks[event["hash"]][event["source"], event["event"]] = event["duration"]
    return _sum(_outcome(came) for came in tasks.values())


def server_says(server: Server, session: str) -> Numbers:
    """The numbers of a run; its detail's tasks must come to the same."""
    answer = _asked(server, f"/v1/runs/{session}")
    assert answer["nextCursor"] is None
    names = {"local_hit": "LOCAL", "remote_hit": "REMOTE", "miss": "MISS"}
    told = _sum((names[task["outcome"]], task["timeSavedMs"]) for task in answer["tasks"])
    assert told == _numbers(answer["run"])
    return told


def server_says_of_all(server: Server) -> Numbers:
    """The numbers of all of a team's runs; the list of runs must come to the same."""
    summary, listed = _asked(server, "/v1/analytics/summary"), runs_listed(server)
    assert summary["runs"] == len(listed)
    assert _numbers(summary) == total(listed.values())
    return _numbers(summary)


def runs_listed(server: Server) -> dict[str, Numbers]:
    """The runs that are listed, newest first, by session."""
    page = _asked(server, "/v1/runs")
    assert page["nextCursor"] is None
    return {run["sessionId"]: _numbers(run) for run in page["runs"]}


def moved(server: Server) -> dict[str, int]:
    """What was up- and downloaded, and is stored."""
    artifacts: dict[str, int] = _asked(server, "/v1/analytics/summary")["artifacts"]
    return artifacts


def makers(server: Server) -> dict[str, str | None]:
    """The session that made each stored artifact, by hash."""
    artifacts = _asked(server, "/v1/artifacts", limit=1000)["artifacts"]
    return {artifact["hash"]: artifact["producedBy"] for artifact in artifacts}


def total(numbers: Iterable[Numbers]) -> Numbers:
    """All of them together."""
    return Numbers(*(sum(column) for column in zip(NOTHING, *numbers, strict=True)))


def durations_in_cache(repo: Monorepo) -> dict[str, int]:
    """How long each task took, by hash, as turbo's local cache keeps it."""
    folders = (repo.root / ".turbo" / "cache", repo.root / "node_modules" / ".cache")
    notes = [note for folder in folders for note in folder.rglob("*-meta.json")]
    return {
        note.name.removesuffix("-meta.json"): json.loads(note.read_text())["duration"]
        for note in notes
    }


def _asked(server: Server, path: str, **params: Any) -> Any:
    answer = server.request("GET", path, params={"fresh": "true", **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _numbers(counts: dict[str, Any]) -> Numbers:
    return Numbers(
        counts["tasks"],
        counts["localHits"],
        counts["remoteHits"],
        counts["misses"],
        counts["timeSavedMs"]["local"],
        counts["timeSavedMs"]["remote"],
    )


def _outcome(came: dict[tuple[str, str], int]) -> tuple[str, int]:
    for source in ("LOCAL", "REMOTE"):
        if (source, "HIT") in came:
            return source, came[source, "HIT"]
    return "MISS", 0


def _sum(tasks: Iterable[tuple[str, int]]) -> Numbers:
    """Of tasks, each as where it was found and the time that this saved."""
    found: dict[str, list[int]] = {"LOCAL": [], "REMOTE": [], "MISS": []}
    for where, saved_ms in tasks:
        found[where].append(saved_ms)
    local, remote, missed = found["LOCAL"], found["REMOTE"], found["MISS"]
    assert sum(missed) == 0
    count = len(local) + len(remote) + len(missed)
    return Numbers(count, len(local), len(remote), len(missed), sum(local), sum(remote))
