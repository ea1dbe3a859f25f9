"""Holds reports against the reference: every number that both know."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hitrate import api_schemas
from hitrate.analytics.filters import ReportQuery
from hitrate.errors import NotFound
from hitrate.events.wire import Batch
from tests.support.analytics_fixture import USER_EMAIL, USER_TOKEN, EventStoreFixture, team
from tests.support.reference_analytics import (
    LOCAL_HIT,
    REMOTE_HIT,
    ArtifactDurations,
    Run,
    Runs,
    Task,
    Totals,
    grouped,
    quartiles,
    runs_started_in,
    tasks_by_hash,
    totals_of,
)

ALL = 10_000

GROUPS: dict[str, Callable[[Run], Any]] = {
    "ci": lambda run: run.sender.ci,
    "interactive": lambda run: _as_key(run.sender.interactive),
    "agent": lambda run: run.sender.agent,
    "token": lambda run: run.sender.token,
    "user": lambda run: USER_EMAIL if run.sender.token == USER_TOKEN else None,
}


def _as_key(interactive: bool | None) -> str | None:
    return None if interactive is None else str(interactive).lower()


def counted(told: api_schemas.TaskStats, runs: int = 1) -> Totals:
    """What a report tells, in the reference's words."""
    return Totals(
        getattr(told, "runs", runs),
        told.tasks,
        told.local_hits,
        told.remote_hits,
        told.misses,
        told.hit_rate,
        told.time_saved_ms.local,
        told.time_saved_ms.remote,
        told.events,
        told.duplicates,
        told.anomalies,
    )


def milliseconds(moment: str) -> int:
    """UTC milliseconds of what a report shows."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def assert_runs(
    event_store: EventStoreFixture,
    runs: Runs,
    scope: ReportQuery,
    order: str,
    *,
    recorded: bool = True,
) -> None:
    """The period's runs, in an order."""
    some = runs_started_in(runs, scope.team_id, scope.period.from_ms, scope.period.to_ms)
    expected = {run.session: run for run in some}
    told = event_store.reports.runs(scope, order, ALL, 0).runs
    assert sorted(info.session_id for info in told) == sorted(expected)
    ranks = [RANKS[order](expected[info.session_id]) for info in told]
    assert ranks == sorted(ranks)
    for info in told:
        assert_run(info, expected[info.session_id], recorded=recorded)


RANKS: dict[str, Callable[[Run], Any]] = {
    "newest": lambda run: -run.started_at,
    "best": lambda run: (-run.hit_rate, -len(run.tasks)),
    "worst": lambda run: (run.hit_rate, -len(run.tasks)),
    "saved": lambda run: -run.sums.local_ms - run.sums.remote_ms,
    "largest": lambda run: -len(run.tasks),
}


def assert_run(info: api_schemas.RunInfo, run: Run, *, recorded: bool = True) -> None:
    """A run's row. Of batches that come again the one that is loaded first is recorded: with
    `recorded` False it may have been another."""
    told, expected = counted(info), totals_of([run])
    if not recorded:
        told, expected = (c._replace(events=0, anomalies=0) for c in (told, expected))
    assert told == expected
    sender = info.sender
    assert (sender.ci, sender.interactive, sender.agent, sender.token_id) == run.sender
    assert milliseconds(info.started_at) == run.started_at
    assert milliseconds(info.ended_at) == run.ended_at


def assert_measures(
    event_store: EventStoreFixture,
    runs: Runs,
    scope: ReportQuery,
    matches: Callable[[Run], bool] = lambda _: True,
) -> None:
    """A period's sums, and those of the one before."""
    period = scope.period
    summary = event_store.reports.summary(scope)
    for told, span in ((summary, period), (summary.previous, period.previous)):
        some = runs_started_in(runs, scope.team_id, span.from_ms, span.to_ms)
        assert counted(told) == totals_of(run for run in some if matches(run))


def assert_series(
    event_store: EventStoreFixture, runs: Runs, scope: ReportQuery, bucket: str, zone: str
) -> None:
    """A period's buckets, which hold all of its runs."""
    series = event_store.reports.timeseries(scope, bucket, ZoneInfo(zone))
    for one in series.buckets:
        span = milliseconds(one.from_), milliseconds(one.to)
        assert_group(one, runs_started_in(runs, scope.team_id, *span))
    some = runs_started_in(runs, scope.team_id, scope.period.from_ms, scope.period.to_ms)
    assert sum(one.runs for one in series.buckets) == len(some)


def assert_groups(event_store: EventStoreFixture, runs: Runs, scope: ReportQuery, by: str) -> None:
    """A period's groups, those with the most tasks first."""
    some = runs_started_in(runs, scope.team_id, scope.period.from_ms, scope.period.to_ms)
    expected = grouped(some, GROUPS[by])
    groups = event_store.reports.breakdown(scope, by).groups
    assert {group.key for group in groups} == set(expected)
    ranks = [(-group.tasks, group.key is None, group.key or "") for group in groups]
    assert ranks == sorted(ranks)
    for group in groups:
        assert_group(group, expected[group.key])


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


def assert_group(told: api_schemas.Bucket | api_schemas.Group, runs: list[Run]) -> None:
    """The measures of some runs, and how their hit rates are spread."""
    assert counted(told) == totals_of(runs)
    told_bands = (
        told.hit_rate_quartiles.p25,
        told.hit_rate_quartiles.p50,
        told.hit_rate_quartiles.p75,
    )
    expected = quartiles(runs)
    if expected is None:
        assert told_bands == (None, None, None)
    else:
        assert told_bands == pytest.approx(expected, rel=1e-12)


def assert_details(
    event_store: EventStoreFixture,
    runs: Runs,
    artifact_durations: ArtifactDurations,
    *,
    recorded: bool = True,
) -> None:
    """Every run's tasks."""
    for run in runs.values():
        detail = event_store.artifact_reports.run(team(run.team), run.session, ALL, 0)
        assert_run(detail.run, run, recorded=recorded)
        told = [(task.hash, task.outcome, task.time_saved_ms) for task in detail.tasks]
        tasks = [(name, task.outcome, task.saved_ms) for name, task in run.tasks.items()]
        assert sorted(told) == sorted(tasks)
        ranks = [(outcome != "miss", -saved_ms) for _, outcome, saved_ms in told]
        assert ranks == sorted(ranks)
        for info in detail.tasks:
            made = artifact_durations.get((run.team, info.hash))
            assert info.duration_ms == _duration(run.tasks[info.hash], made)
            assert (info.artifact is not None) == (made is not None)


def _duration(task: Task, artifact_ms: float | None) -> float | None:
    told = [task.told_ms[kind] for kind in (LOCAL_HIT, REMOTE_HIT) if kind in task.told_ms]
    longest = max(told, default=None)
    return longest or (longest if artifact_ms is None else artifact_ms)


def assert_uses(
    event_store: EventStoreFixture,
    batches: list[Batch],
    artifact_durations: ArtifactDurations,
    scope: ReportQuery,
    names: Iterable[str],
) -> None:
    """Who used artifacts in a period, and the hits of all that are stored."""
    expected = tasks_by_hash(
        batches, artifact_durations, scope.team_id, scope.period.from_ms, scope.period.to_ms
    )
    for name in names:
        tasks = expected.get(name, {})
        if not tasks and (scope.team_id, name) not in artifact_durations:
            with pytest.raises(NotFound):
                event_store.artifact_reports.artifact(scope, name, ALL, 0)
            continue
        detail = event_store.artifact_reports.artifact(scope, name, ALL, 0)
        told = [
            (use.session_id, milliseconds(use.at), use.outcome, use.time_saved_ms)
            for use in detail.uses
        ]
        assert sorted(told) == sorted(
            (session, task.last_at, task.outcome, task.saved_ms) for session, task in tasks.items()
        )
        moments = [at for _, at, *_ in told]
        assert moments == sorted(moments, reverse=True)
        if detail.artifact is not None:
            _assert_hits(detail.artifact, list(tasks.values()))
    _assert_listed(event_store, expected, artifact_durations, scope)


def _assert_hits(artifact: api_schemas.StoredArtifact, tasks: list[Task]) -> None:
    outcomes = [task.outcome for task in tasks]
    assert artifact.hits.local == outcomes.count("local_hit")
    assert artifact.hits.remote == outcomes.count("remote_hit")
    assert artifact.time_saved_ms == sum(task.saved_ms for task in tasks)


def _assert_listed(
    event_store: EventStoreFixture,
    expected: dict[str, dict[str, Task]],
    artifact_durations: ArtifactDurations,
    scope: ReportQuery,
) -> None:
    stored = {name for team_id, name in artifact_durations if team_id == scope.team_id}
    hits = {
        name: sum(task.outcome != "miss" for task in expected.get(name, {}).values())
        for name in stored
    }
    everything = event_store.artifact_reports.artifacts(
        scope, "newest", ALL, 0, unused=False
    ).artifacts
    assert {one.hash for one in everything} == stored
    for artifact in everything:
        _assert_hits(artifact, list(expected.get(artifact.hash, {}).values()))
    most_hit = event_store.artifact_reports.artifacts(scope, "hits", ALL, 0, unused=False).artifacts
    told = [hits[artifact.hash] for artifact in most_hit]
    assert told == sorted((many for many in hits.values() if many), reverse=True)
    unused = event_store.artifact_reports.artifacts(scope, "newest", ALL, 0, unused=True).artifacts
    assert {one.hash for one in unused} == {name for name in stored if not hits[name]}


FILTERED: tuple[tuple[dict[str, str], Callable[[Run], bool]], ...] = (
    ({"ci": "GITHUB_ACTIONS"}, lambda run: run.sender.ci == "GITHUB_ACTIONS"),
    ({"ci": "any"}, lambda run: run.sender.ci is not None),
    ({"ci": "none"}, lambda run: run.sender.ci is None),
    ({"interactive": "false"}, lambda run: run.sender.interactive is False),
    ({"interactive": "any"}, lambda run: run.sender.interactive is not None),
    ({"agent": "claude-code"}, lambda run: run.sender.agent == "claude-code"),
    ({"token": USER_TOKEN}, lambda run: run.sender.token == USER_TOKEN),
    (
        {"ci": "any", "interactive": "true", "agent": "none"},
        lambda run: (run.sender.ci is not None, *run.sender[1:3]) == (True, True, None),
    ),
)
"""Filters, and whose runs match them."""
