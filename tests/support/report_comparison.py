"""Assertions that reports equal the reference implementation in every number that both have."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hitrate import api_schemas
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.period import Period
from hitrate.errors import NotFound
from hitrate.events.wire import Batch
from tests.support.analytics_fixture import USER_EMAIL, USER_TOKEN, EventStoreFixture, team
from tests.support.reference_analytics import (
    LOCAL_HIT,
    REMOTE_HIT,
    ArtifactDurations,
    ReferenceTotals,
    Run,
    Runs,
    Task,
    grouped,
    quartiles,
    runs_started_in,
    tasks_by_hash,
    totals_of,
)

NO_LIMIT = 10_000

GROUPS: dict[str, Callable[[Run], Any]] = {
    "ci": lambda run: run.sender.ci,
    "interactive": lambda run: _boolean_key(run.sender.interactive),
    "agent": lambda run: run.sender.agent,
    "token": lambda run: run.sender.token,
    "user": lambda run: USER_EMAIL if run.sender.token == USER_TOKEN else None,
}
"""The group key of a run, by property."""


def _boolean_key(interactive: bool | None) -> str | None:
    return None if interactive is None else str(interactive).lower()


def as_totals(stats: api_schemas.TaskStats, runs: int = 1) -> ReferenceTotals:
    """Convert the statistics of a report to the type of the reference."""
    return ReferenceTotals(
        getattr(stats, "runs", runs),
        stats.tasks,
        stats.local_hits,
        stats.remote_hits,
        stats.misses,
        stats.hit_rate,
        stats.time_saved_ms.local,
        stats.time_saved_ms.remote,
        stats.events,
        stats.duplicates,
        stats.anomalies,
    )


def milliseconds(iso_time: str) -> int:
    """Return an ISO 8601 time in UTC milliseconds."""
    return round(datetime.fromisoformat(iso_time).timestamp() * 1000)


def runs_of_query(runs: Runs, query: ReportQuery, period: Period | None = None) -> list[Run]:
    """Return the runs of the query's team that started in its period, or in another one."""
    period = period or query.period
    return runs_started_in(runs, query.team_id, period.from_ms, period.to_ms)


def assert_runs(
    event_store: EventStoreFixture,
    runs: Runs,
    query: ReportQuery,
    order: str,
    *,
    recorded: bool = True,
) -> None:
    """Assert that the list of runs equals the reference and is in order."""
    expected = {run.session: run for run in runs_of_query(runs, query)}
    entries = event_store.reports.runs(query, order, NO_LIMIT, 0).runs
    assert sorted(info.session_id for info in entries) == sorted(expected)
    ranks = [RANKS[order](expected[info.session_id]) for info in entries]
    assert ranks == sorted(ranks)
    for info in entries:
        assert_run(info, expected[info.session_id], recorded=recorded)


RANKS: dict[str, Callable[[Run], Any]] = {
    "newest": lambda run: -run.started_at,
    "best": lambda run: (-run.hit_rate, -len(run.tasks)),
    "worst": lambda run: (run.hit_rate, -len(run.tasks)),
    "saved": lambda run: -run.totals.local_ms - run.totals.remote_ms,
    "largest": lambda run: -len(run.tasks),
}
"""Sort keys of runs, by order."""


def assert_run(info: api_schemas.RunInfo, run: Run, *, recorded: bool = True) -> None:
    """Assert that a run equals the reference.

    Of re-sent batches, the one that is loaded first is recorded. Pass `recorded=False` if that may
    not be the one with the earliest time: then events and anomalies may differ.
    """
    actual, expected = as_totals(info), totals_of([run])
    if not recorded:
        actual, expected = (t._replace(events=0, anomalies=0) for t in (actual, expected))
    assert actual == expected
    sender = info.sender
    assert (sender.ci, sender.interactive, sender.agent, sender.token_id) == run.sender
    assert milliseconds(info.started_at) == run.started_at
    assert milliseconds(info.ended_at) == run.ended_at


def assert_summary(
    event_store: EventStoreFixture,
    runs: Runs,
    query: ReportQuery,
    matches: Callable[[Run], bool] = lambda _: True,
) -> None:
    """Assert that the totals of the period and of the previous one equal the reference."""
    summary = event_store.reports.summary(query)
    for stats, period in ((summary, query.period), (summary.previous, query.period.previous)):
        matching = [run for run in runs_of_query(runs, query, period) if matches(run)]
        assert as_totals(stats) == totals_of(matching)


def assert_timeseries(
    event_store: EventStoreFixture, runs: Runs, query: ReportQuery, bucket: str, zone: str
) -> None:
    """Assert that each bucket equals the reference, and that the buckets cover all runs."""
    series = event_store.reports.timeseries(query, bucket, ZoneInfo(zone))
    for one in series.buckets:
        period = Period(milliseconds(one.from_), milliseconds(one.to))
        assert_group(one, runs_of_query(runs, query, period))
    assert sum(one.runs for one in series.buckets) == len(runs_of_query(runs, query))


def assert_breakdown(
    event_store: EventStoreFixture, runs: Runs, query: ReportQuery, by: str
) -> None:
    """Assert that the groups equal the reference, those with the most tasks first."""
    expected = grouped(runs_of_query(runs, query), GROUPS[by])
    groups = event_store.reports.breakdown(query, by).groups
    assert {group.key for group in groups} == set(expected)
    ranks = [(-group.tasks, group.key is None, group.key or "") for group in groups]
    assert ranks == sorted(ranks)
    for group in groups:
        assert_group(group, expected[group.key])


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


def assert_group(group: api_schemas.Bucket | api_schemas.Group, runs: list[Run]) -> None:
    """Assert that the totals and the hit rate quartiles of a group equal the reference."""
    assert as_totals(group) == totals_of(runs)
    rates = group.hit_rate_quartiles
    actual = (rates.p25, rates.p50, rates.p75)
    expected = quartiles(runs)
    if expected is None:
        assert actual == (None, None, None)
    else:
        assert actual == pytest.approx(expected, rel=1e-12)


def assert_run_details(
    event_store: EventStoreFixture,
    runs: Runs,
    artifact_durations: ArtifactDurations,
    *,
    recorded: bool = True,
) -> None:
    """Assert that each run and all of its tasks equal the reference."""
    for run in runs.values():
        detail = event_store.artifact_reports.run(team(run.team), run.session, NO_LIMIT, 0)
        assert_run(detail.run, run, recorded=recorded)
        entries = [(task.hash, task.outcome, task.time_saved_ms) for task in detail.tasks]
        expected = [(name, task.outcome, task.saved_ms) for name, task in run.tasks.items()]
        assert sorted(entries) == sorted(expected)
        ranks = [(outcome != "miss", -saved_ms) for _, outcome, saved_ms in entries]
        assert ranks == sorted(ranks)
        for info in detail.tasks:
            artifact_ms = artifact_durations.get((run.team, info.hash))
            assert info.duration_ms == _duration(run.tasks[info.hash], artifact_ms)
            assert (info.artifact is not None) == (artifact_ms is not None)


def _duration(task: Task, artifact_ms: float | None) -> float | None:
    hits = [task.longest_ms[kind] for kind in (LOCAL_HIT, REMOTE_HIT) if kind in task.longest_ms]
    longest = max(hits, default=None)
    return longest or (longest if artifact_ms is None else artifact_ms)


def assert_uses(
    event_store: EventStoreFixture,
    batches: list[Batch],
    artifact_durations: ArtifactDurations,
    query: ReportQuery,
    names: Iterable[str],
) -> None:
    """Assert that uses and hits of the named artifacts, and the artifact lists, are right."""
    reports = event_store.artifact_reports
    expected = tasks_by_hash(
        batches, artifact_durations, query.team_id, query.period.from_ms, query.period.to_ms
    )
    for name in names:
        tasks = expected.get(name, {})
        if not tasks and (query.team_id, name) not in artifact_durations:
            with pytest.raises(NotFound):
                reports.artifact(query, name, NO_LIMIT, 0)
            continue
        detail = reports.artifact(query, name, NO_LIMIT, 0)
        uses = [
            (use.session_id, milliseconds(use.at), use.outcome, use.time_saved_ms)
            for use in detail.uses
        ]
        assert sorted(uses) == sorted(
            (session, task.last_at, task.outcome, task.saved_ms) for session, task in tasks.items()
        )
        times = [at for _, at, *_ in uses]
        assert times == sorted(times, reverse=True)
        if detail.artifact is not None:
            _assert_hits(detail.artifact, list(tasks.values()))
    _assert_artifact_lists(event_store, expected, artifact_durations, query)


def _assert_hits(artifact: api_schemas.StoredArtifact, tasks: list[Task]) -> None:
    outcomes = [task.outcome for task in tasks]
    assert artifact.hits.local == outcomes.count("local_hit")
    assert artifact.hits.remote == outcomes.count("remote_hit")
    assert artifact.time_saved_ms == sum(task.saved_ms for task in tasks)


def _assert_artifact_lists(
    event_store: EventStoreFixture,
    expected: dict[str, dict[str, Task]],
    artifact_durations: ArtifactDurations,
    query: ReportQuery,
) -> None:
    reports = event_store.artifact_reports
    stored = {name for team_id, name in artifact_durations if team_id == query.team_id}
    hits = {
        name: sum(task.outcome != "miss" for task in expected.get(name, {}).values())
        for name in stored
    }
    newest = reports.artifacts(query, "newest", NO_LIMIT, 0, unused=False).artifacts
    assert {one.hash for one in newest} == stored
    for artifact in newest:
        _assert_hits(artifact, list(expected.get(artifact.hash, {}).values()))
    most_hit = reports.artifacts(query, "hits", NO_LIMIT, 0, unused=False).artifacts
    assert [hits[artifact.hash] for artifact in most_hit] == sorted(
        (count for count in hits.values() if count), reverse=True
    )
    unused = reports.artifacts(query, "newest", NO_LIMIT, 0, unused=True).artifacts
    assert {one.hash for one in unused} == {name for name in stored if not hits[name]}


FILTER_CASES: tuple[tuple[dict[str, str], Callable[[Run], bool]], ...] = (
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
"""Filters, each with the condition for a run to match."""
