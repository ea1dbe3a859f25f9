"""Reports over HTTP: they match the statistics of synthetic runs, and agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hitrate.clock import ManualClock, iso
from tests.support.event_factory import body, event
from tests.support.manual_clock_server import ManualClockServer
from tests.support.synthetic_runs import (
    DAY_MS,
    END_MS,
    SETUP_MS,
    START_MS,
    Json,
    SyntheticRun,
    SyntheticTeam,
    TokenInfo,
    expected_stats,
    iter_entries,
    stats_of,
    sum_stats,
)
from tests.support.team_fixture import TeamServer, run_team_server

SUMMARY, TIMESERIES, BREAKDOWN = (
    f"/v1/analytics/{report}" for report in ("summary", "timeseries", "breakdown")
)
FULL_PERIOD = {"since": iso(START_MS), "until": iso(END_MS)}

Condition = Callable[[SyntheticRun], bool]
FILTERS: list[tuple[dict[str, str], Condition]] = [
    ({}, lambda _: True),
    ({"ci": "VERCEL"}, lambda run: run.ci == "VERCEL"),
    ({"ci": "Größe"}, lambda run: run.ci == "Größe"),
    ({"ci": "vercel"}, lambda _: False),
    ({"ci": "any"}, lambda run: run.ci is not None),
    ({"ci": "none"}, lambda run: run.ci is None),
    ({"agent": "claude"}, lambda run: run.agent == "claude"),
    ({"agent": "any"}, lambda run: run.agent is not None),
    ({"agent": "none"}, lambda run: run.agent is None),
    ({"agent": "' OR 1=1 --"}, lambda _: False),
    ({"interactive": "true"}, lambda run: run.interactive is True),
    ({"interactive": "false"}, lambda run: run.interactive is False),
    ({"interactive": "any"}, lambda run: run.interactive is not None),
    ({"interactive": "none"}, lambda run: run.interactive is None),
    ({"token": "tok_unknown"}, lambda _: False),
    (
        {"ci": "any", "agent": "none", "interactive": "false"},
        lambda run: run.ci is not None and run.agent is None and run.interactive is False,
    ),
]
MARCH_MS = START_MS + 9 * DAY_MS
HOUR_MS = 3_600_000
PERIODS: dict[str, tuple[dict[str, str], int, int]] = {
    "default of 30 days": ({}, END_MS - 30 * DAY_MS, END_MS + 1),
    "since a number of days": ({"since": "7d"}, END_MS - 7 * DAY_MS, END_MS + 1),
    "until a number of hours ago": (
        {"since": "36h", "until": "1.5h"},
        END_MS - 36 * HOUR_MS,
        END_MS - 3 * HOUR_MS // 2,
    ),
    "a week": ({"since": "2w", "until": "1w"}, END_MS - 14 * DAY_MS, END_MS - 7 * DAY_MS),
    "since a date": ({"since": "2027-03-01"}, MARCH_MS, END_MS + 1),
    "times with zones": (
        {"since": "2027-03-01T02:00:00+02:00", "until": "2027-03-02T00:00:00.250Z"},
        MARCH_MS,
        MARCH_MS + DAY_MS + 250,
    ),
    "until the far future": (
        {"since": "2027-03-01", "until": "2999-01-01"},
        MARCH_MS,
        4_102_444_800_000,  # 2100
    ),
}


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(SETUP_MS)


@pytest.fixture(scope="module")
def team_server(
    tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> Iterator[TeamServer]:
    server = ManualClockServer(tmp_path_factory.mktemp("reports") / "data", clock)
    with run_team_server(server, clock) as team_server:
        yield team_server


@pytest.fixture(scope="module", params=[1, 2], ids=lambda seed: f"seed {seed}")
def team(
    team_server: TeamServer, clock: ManualClock, request: pytest.FixtureRequest
) -> SyntheticTeam:
    return SyntheticTeam(team_server, clock, request.param)


@pytest.mark.parametrize(("params", "from_ms", "to_ms"), PERIODS.values(), ids=PERIODS)
def test_summary_counts_runs_that_began_in_the_period(
    team: SyntheticTeam, params: dict[str, str], from_ms: int, to_ms: int
) -> None:
    summary = team.get(SUMMARY, **params)
    assert (summary["from"], summary["to"]) == (iso(from_ms), iso(to_ms))
    assert stats_of(summary) == expected_stats(
        run for run in team.runs if from_ms <= run.at_ms < to_ms
    )


def test_previous_period_has_equal_length(team: SyntheticTeam) -> None:
    summary = team.get(SUMMARY, since="14d", until="4d")
    previous = summary["previous"]
    assert (previous["from"], previous["to"]) == (iso(END_MS - 24 * DAY_MS), summary["from"])
    assert stats_of(previous) == expected_stats(team.runs_within(previous))
    assert previous["runs"] > 0


def test_hit_rate_is_null_without_runs(team: SyntheticTeam) -> None:
    empty = team.get(SUMMARY, since=iso(START_MS - 2), until=iso(START_MS - 1))
    assert stats_of(empty) == stats_of(empty["previous"]) == expected_stats([])
    assert empty["hitRate"] is None


@pytest.mark.parametrize(("params", "matches"), FILTERS, ids=[str(params) for params, _ in FILTERS])
def test_all_reports_on_the_same_runs_agree(
    team: SyntheticTeam, params: dict[str, str], matches: Condition
) -> None:
    assert_reports_agree(team, params, matches)


def test_token_filter_accepts_an_id_or_current(team: SyntheticTeam) -> None:
    for token in team.tokens:
        assert_reports_agree(team, {"token": token.id}, sent_with(token))
    assert_reports_agree(team, {"token": "current"}, sent_with(team.reader))


def sent_with(token: TokenInfo) -> Condition:
    return lambda run: run.token == token


def assert_reports_agree(team: SyntheticTeam, params: dict[str, str], matches: Condition) -> None:
    """Assert that summary, timeseries, breakdowns and list of runs have the expected statistics."""
    runs = [run for run in team.runs if matches(run)]
    params = FULL_PERIOD | params
    expected = expected_stats(runs)
    assert stats_of(team.get(SUMMARY, **params)) == expected
    assert sum_stats(team.get(TIMESERIES, bucket="week", **params)["buckets"]) == expected
    for by in ("ci", "interactive", "agent", "token", "user"):
        assert sum_stats(team.get(BREAKDOWN, by=by, **params)["groups"]) == expected
    run_list = team.get_all("/v1/runs", "runs", limit=40, **params)
    assert sum_stats([{**run, "runs": 1} for run in run_list]) == expected


@pytest.mark.parametrize("bucket", ["hour", "day", "week", "month"])
@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"]
)
def test_buckets_follow_the_time_zone(team: SyntheticTeam, bucket: str, zone: str) -> None:
    report = team.get(TIMESERIES, bucket=bucket, timezone=zone, **FULL_PERIOD)
    buckets = report["buckets"]
    assert (report["bucket"], report["timezone"]) == (bucket, zone)
    assert (buckets[0]["from"], buckets[-1]["to"]) == (FULL_PERIOD["since"], FULL_PERIOD["until"])
    assert all(one["to"] == following["from"] for one, following in pairwise(buckets))
    for one in buckets:
        runs = team.runs_within(one)
        assert stats_of(one) == expected_stats(runs)
        middle = median(run.hit_rate for run in runs) if runs else None
        assert one["hitRateQuartiles"]["p50"] == pytest.approx(middle)
    assert [one["from"] for one in buckets[1:]] == bucket_begins(bucket, ZoneInfo(zone))


def bucket_begins(bucket: str, zone: ZoneInfo) -> list[str]:
    """Return the times that begin a bucket in local time, checking every quarter of an hour."""
    quarters = range(START_MS + 900_000, END_MS, 900_000)
    local_times = ((at_ms, datetime.fromtimestamp(at_ms / 1000, zone)) for at_ms in quarters)
    begin: dict[str, Callable[[datetime], bool]] = {
        "hour": lambda local: local.minute == 0,
        "day": lambda local: (local.hour, local.minute) == (0, 0),
        "week": lambda local: (local.weekday(), local.hour, local.minute) == (0, 0, 0),
        "month": lambda local: (local.day, local.hour, local.minute) == (1, 0, 0),
    }
    return [iso(at_ms) for at_ms, local in local_times if begin[bucket](local)]


def test_period_includes_its_start_and_excludes_its_end(
    team_server: TeamServer, clock: ManualClock
) -> None:
    team = SyntheticTeam(team_server, clock, seed=6, count=0)
    team.post(team.reader.secret, body(event()))  # exactly at midnight
    summary = team.get(SUMMARY, since=iso(END_MS), until=iso(END_MS + 1))
    assert (summary["runs"], summary["previous"]["runs"]) == (1, 0)
    summary = team.get(SUMMARY, since=iso(END_MS + 1), until=iso(END_MS + 2))
    assert (summary["runs"], summary["previous"]["runs"]) == (0, 1)
    for bucket in ("hour", "day"):
        span = {"since": iso(END_MS - DAY_MS), "until": iso(END_MS + DAY_MS)}
        buckets = team.get(TIMESERIES, bucket=bucket, **span)["buckets"]
        assert [one["from"] for one in buckets if one["runs"]] == [iso(END_MS)]


def test_breakdown_groups_runs_by_property(team: SyntheticTeam) -> None:
    labels = {True: ("true", "interactive"), False: ("false", "non-interactive")}
    key_and_label: dict[str, Callable[[SyntheticRun], tuple[str | None, str]]] = {
        "ci": lambda run: (run.ci, run.ci or "no CI"),
        "agent": lambda run: (run.agent, run.agent or "no agent"),
        "interactive": lambda run: (
            (None, "unknown") if run.interactive is None else labels[run.interactive]
        ),
        "token": lambda run: (run.token.id, run.token.label or run.token.id),
        "user": lambda run: (run.token.user, run.token.user or "team token"),
    }
    for by, name in key_and_label.items():
        report = team.get(BREAKDOWN, by=by, **FULL_PERIOD)
        groups = {(group["key"], group["label"]): stats_of(group) for group in report["groups"]}
        assert groups == {
            group: expected_stats(run for run in team.runs if name(run) == group)
            for group in {name(run) for run in team.runs}
        }
        sizes = [group["tasks"] for group in report["groups"]]
        assert (report["by"], sizes) == (by, sorted(sizes, reverse=True))


ORDERS: dict[str, Callable[[Json], Any]] = {
    "newest": lambda run: run["startedAt"],
    "best": lambda run: (run["hitRate"], run["tasks"]),
    "worst": lambda run: (-run["hitRate"], run["tasks"]),
    "saved": lambda run: sum(run["timeSavedMs"].values()),
    "largest": lambda run: run["tasks"],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_runs_are_listed_in_order_without_repetition(
    team: SyntheticTeam, order: str, limit: int
) -> None:
    run_list = team.get_all("/v1/runs", "runs", order=order, limit=limit, **FULL_PERIOD)
    assert [ORDERS[order](run) for run in run_list] == sorted(
        (ORDERS[order](run) for run in run_list), reverse=True
    )
    assert len(run_list) == len(team.runs)
    assert {run["sessionId"]: run for run in map(expected_entry, team.runs)} == {
        run["sessionId"]: run for run in run_list
    }


def expected_entry(run: SyntheticRun) -> Json:
    """Return the expected list entry of a run."""
    stats = run.expected_stats()
    del stats["runs"]
    return {
        **stats,
        "sessionId": run.session,
        "startedAt": iso(run.at_ms),
        "endedAt": iso(run.at_ms),
        "sender": {
            "ci": run.ci,
            "interactive": run.interactive,
            "agent": run.agent,
            "tokenId": run.token.id,
            "tokenLabel": run.token.label,
            "user": run.token.user,
        },
    }


def test_run_lists_misses_first_then_hits_by_time_saved(team: SyntheticTeam) -> None:
    for run in team.runs[:10]:
        path = f"/v1/runs/{run.session}"
        assert team.get(path)["run"] == expected_entry(run)
        tasks = team.get_all(path, "tasks", limit=3)
        outcomes = [(task["hash"], task["outcome"], task["timeSavedMs"]) for task in tasks]
        assert Counter(outcomes) == Counter(run.tasks)
        ranks = [(outcome != "miss", -saved) for _, outcome, saved in outcomes]
        assert ranks == sorted(ranks)
        assert {task["artifact"] for task in tasks} == {None}  # no artifact was uploaded


def test_pages_join_while_new_runs_arrive(team_server: TeamServer, clock: ManualClock) -> None:
    team = SyntheticTeam(team_server, clock, seed=3, count=30)
    sessions: list[str] = []
    for run in iter_entries(team.get, "/v1/runs", "runs", limit=4, since="60d"):
        sessions.append(run["sessionId"])
        clock.advance(1)
        team.post(team.reader.secret, body(event()))
    assert sessions == [run.session for run in reversed(team.runs)]


def test_fresh_report_includes_every_acknowledged_event(
    team_server: TeamServer, clock: ManualClock
) -> None:
    team = SyntheticTeam(team_server, clock, seed=4, count=0)
    for number in range(1, 16):
        team.post(team.reader.secret, body(event()))
        assert team.get(SUMMARY, since="1h")["runs"] == number


def test_run_is_attributed_to_its_first_event(team_server: TeamServer, clock: ManualClock) -> None:
    team = SyntheticTeam(team_server, clock, seed=5, count=0)
    team.post(team.reader.secret, body(event(sessionId="long", hash="one")))
    clock.advance(2 * DAY_MS / 1000)
    team.post(team.reader.secret, body(event(sessionId="long", hash="two")))
    assert team.get(SUMMARY, since="1d")["runs"] == 0
    summary = team.get(SUMMARY, since="3d")
    assert (summary["runs"], summary["tasks"]) == (1, 2)
    [run] = team.get("/v1/runs", since="3d")["runs"]
    assert (run["startedAt"], run["endedAt"]) == (iso(END_MS), iso(END_MS + 2 * DAY_MS))
    assert team.get("/v1/runs", since="1d")["runs"] == []
