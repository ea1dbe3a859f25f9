"""The reports over HTTP, on a real server: their numbers are those of weeks that were made up, and
what the different reports say of the same runs adds up."""

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
    BEGIN_MS,
    DAY_MS,
    END_MS,
    LONG_BEFORE_MS,
    Answer,
    History,
    Key,
    Ran,
    counts,
    entries_of,
    said,
    total,
)
from tests.support.team_fixture import TeamServer, run_team_server

SUMMARY, TIMESERIES, BREAKDOWN = (
    f"/v1/analytics/{report}" for report in ("summary", "timeseries", "breakdown")
)
WHOLE = {"since": iso(BEGIN_MS), "until": iso(END_MS)}

Condition = Callable[[Ran], bool]
FILTERS: list[tuple[dict[str, str], Condition]] = [
    ({}, lambda _: True),
    ({"ci": "VERCEL"}, lambda ran: ran.ci == "VERCEL"),
    ({"ci": "Größe"}, lambda ran: ran.ci == "Größe"),
    ({"ci": "vercel"}, lambda _: False),
    ({"ci": "any"}, lambda ran: ran.ci is not None),
    ({"ci": "none"}, lambda ran: ran.ci is None),
    ({"agent": "claude"}, lambda ran: ran.agent == "claude"),
    ({"agent": "any"}, lambda ran: ran.agent is not None),
    ({"agent": "none"}, lambda ran: ran.agent is None),
    ({"agent": "' OR 1=1 --"}, lambda _: False),
    ({"interactive": "true"}, lambda ran: ran.interactive is True),
    ({"interactive": "false"}, lambda ran: ran.interactive is False),
    ({"interactive": "any"}, lambda ran: ran.interactive is not None),
    ({"interactive": "none"}, lambda ran: ran.interactive is None),
    ({"token": "tok_unknown"}, lambda _: False),
    (
        {"ci": "any", "agent": "none", "interactive": "false"},
        lambda ran: ran.ci is not None and ran.agent is None and ran.interactive is False,
    ),
]
MARCH_MS = BEGIN_MS + 9 * DAY_MS
HOUR_MS = 3_600_000
PERIODS: dict[str, tuple[dict[str, str], int, int]] = {
    "30 days unless asked otherwise": ({}, END_MS - 30 * DAY_MS, END_MS + 1),
    "since some days ago": ({"since": "7d"}, END_MS - 7 * DAY_MS, END_MS + 1),
    "until some hours ago": (
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
    "until a year far away": (
        {"since": "2027-03-01", "until": "2999-01-01"},
        MARCH_MS,
        4_102_444_800_000,  # 2100
    ),
}


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(LONG_BEFORE_MS)


@pytest.fixture(scope="module")
def team_server(
    tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> Iterator[TeamServer]:
    server = ManualClockServer(tmp_path_factory.mktemp("reports") / "data", clock)
    with run_team_server(server, clock) as team_server:
        yield team_server


@pytest.fixture(scope="module", params=[1, 2], ids=lambda seed: f"history {seed}")
def history(team_server: TeamServer, clock: ManualClock, request: pytest.FixtureRequest) -> History:
    return History(team_server, clock, request.param)


@pytest.mark.parametrize(("asked", "from_ms", "to_ms"), PERIODS.values(), ids=PERIODS)
def test_summary_counts_runs_that_began_in_the_period(
    history: History, asked: dict[str, str], from_ms: int, to_ms: int
) -> None:
    summary = history.ask(SUMMARY, **asked)
    assert (summary["from"], summary["to"]) == (iso(from_ms), iso(to_ms))
    assert said(summary) == counts(ran for ran in history.runs if from_ms <= ran.at_ms < to_ms)


def test_previous_period_has_equal_length(history: History) -> None:
    summary = history.ask(SUMMARY, since="14d", until="4d")
    before = summary["previous"]
    assert (before["from"], before["to"]) == (iso(END_MS - 24 * DAY_MS), summary["from"])
    assert said(before) == counts(history.within(before))
    assert before["runs"] > 0


def test_hit_rate_is_null_without_runs(history: History) -> None:
    nothing = history.ask(SUMMARY, since=iso(BEGIN_MS - 2), until=iso(BEGIN_MS - 1))
    assert said(nothing) == said(nothing["previous"]) == counts([])
    assert nothing["hitRate"] is None


@pytest.mark.parametrize(("asked", "holds"), FILTERS, ids=[str(asked) for asked, _ in FILTERS])
def test_all_reports_on_the_same_runs_agree(
    history: History, asked: dict[str, str], holds: Condition
) -> None:
    check_that_reports_agree(history, asked, holds)


def test_token_filter_accepts_an_id_or_current(history: History) -> None:
    for key in history.keys:
        check_that_reports_agree(history, {"token": key.id}, sent_with(key))
    check_that_reports_agree(history, {"token": "current"}, sent_with(history.asks))


def sent_with(key: Key) -> Condition:
    return lambda ran: ran.key == key


def check_that_reports_agree(history: History, asked: dict[str, str], holds: Condition) -> None:
    """Summary, timeseries, breakdowns and the list of runs say the same, and it is true."""
    runs = [ran for ran in history.runs if holds(ran)]
    asked = WHOLE | asked
    truth = counts(runs)
    assert said(history.ask(SUMMARY, **asked)) == truth
    assert total(history.ask(TIMESERIES, bucket="week", **asked)["buckets"]) == truth
    for by in ("ci", "interactive", "agent", "token", "user"):
        assert total(history.ask(BREAKDOWN, by=by, **asked)["groups"]) == truth
    listed = history.pages("/v1/runs", "runs", limit=40, **asked)
    assert total([{**ran, "runs": 1} for ran in listed]) == truth


@pytest.mark.parametrize("bucket", ["hour", "day", "week", "month"])
@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"]
)
def test_buckets_follow_the_time_zone(history: History, bucket: str, zone: str) -> None:
    answer = history.ask(TIMESERIES, bucket=bucket, timezone=zone, **WHOLE)
    buckets = answer["buckets"]
    assert (answer["bucket"], answer["timezone"]) == (bucket, zone)
    assert (buckets[0]["from"], buckets[-1]["to"]) == (WHOLE["since"], WHOLE["until"])
    assert all(one["to"] == following["from"] for one, following in pairwise(buckets))
    for one in buckets:
        runs = history.within(one)
        assert said(one) == counts(runs)
        middle = median(ran.hit_rate for ran in runs) if runs else None
        assert one["hitRateQuartiles"]["p50"] == pytest.approx(middle)
    assert [one["from"] for one in buckets[1:]] == begins(bucket, ZoneInfo(zone))


def begins(bucket: str, zone: ZoneInfo) -> list[str]:
    """Every hour of the weeks that begins a bucket on the clocks of a time zone."""
    quarters = range(BEGIN_MS + 900_000, END_MS, 900_000)
    walls = ((at_ms, datetime.fromtimestamp(at_ms / 1000, zone)) for at_ms in quarters)
    begin: dict[str, Callable[[datetime], bool]] = {
        "hour": lambda wall: wall.minute == 0,
        "day": lambda wall: (wall.hour, wall.minute) == (0, 0),
        "week": lambda wall: (wall.weekday(), wall.hour, wall.minute) == (0, 0, 0),
        "month": lambda wall: (wall.day, wall.hour, wall.minute) == (1, 0, 0),
    }
    return [iso(at_ms) for at_ms, wall in walls if begin[bucket](wall)]


def test_period_includes_its_start_and_excludes_its_end(
    team_server: TeamServer, clock: ManualClock
) -> None:
    history = History(team_server, clock, seed=6, count=0)
    history.post(history.asks.secret, body(event()))  # at midnight, to the millisecond
    summary = history.ask(SUMMARY, since=iso(END_MS), until=iso(END_MS + 1))
    assert (summary["runs"], summary["previous"]["runs"]) == (1, 0)
    summary = history.ask(SUMMARY, since=iso(END_MS + 1), until=iso(END_MS + 2))
    assert (summary["runs"], summary["previous"]["runs"]) == (0, 1)
    for bucket in ("hour", "day"):
        span = {"since": iso(END_MS - DAY_MS), "until": iso(END_MS + DAY_MS)}
        buckets = history.ask(TIMESERIES, bucket=bucket, **span)["buckets"]
        assert [one["from"] for one in buckets if one["runs"]] == [iso(END_MS)]


def test_breakdown_groups_runs_by_property(history: History) -> None:
    words = {True: ("true", "interactive"), False: ("false", "non-interactive")}
    named: dict[str, Callable[[Ran], tuple[str | None, str]]] = {
        "ci": lambda ran: (ran.ci, ran.ci or "no CI"),
        "agent": lambda ran: (ran.agent, ran.agent or "no agent"),
        "interactive": lambda ran: (
            (None, "unknown") if ran.interactive is None else words[ran.interactive]
        ),
        "token": lambda ran: (ran.key.id, ran.key.label or ran.key.id),
        "user": lambda ran: (ran.key.user, ran.key.user or "team token"),
    }
    for by, name in named.items():
        answer = history.ask(BREAKDOWN, by=by, **WHOLE)
        groups = {(group["key"], group["label"]): said(group) for group in answer["groups"]}
        assert groups == {
            what: counts(ran for ran in history.runs if name(ran) == what)
            for what in {name(ran) for ran in history.runs}
        }
        sizes = [group["tasks"] for group in answer["groups"]]
        assert (answer["by"], sizes) == (by, sorted(sizes, reverse=True))


ORDERS: dict[str, Callable[[Answer], Any]] = {
    "newest": lambda ran: ran["startedAt"],
    "best": lambda ran: (ran["hitRate"], ran["tasks"]),
    "worst": lambda ran: (-ran["hitRate"], ran["tasks"]),
    "saved": lambda ran: sum(ran["timeSavedMs"].values()),
    "largest": lambda ran: ran["tasks"],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_runs_are_listed_in_order_without_repetition(
    history: History, order: str, limit: int
) -> None:
    listed = history.pages("/v1/runs", "runs", order=order, limit=limit, **WHOLE)
    assert [ORDERS[order](ran) for ran in listed] == sorted(
        (ORDERS[order](ran) for ran in listed), reverse=True
    )
    assert len(listed) == len(history.runs)
    assert {ran["sessionId"]: ran for ran in map(shown, history.runs)} == {
        ran["sessionId"]: ran for ran in listed
    }


def shown(ran: Ran) -> Answer:
    """A run, as it has to be listed."""
    told = ran.counts()
    del told["runs"]
    return {
        **told,
        "sessionId": ran.session,
        "startedAt": iso(ran.at_ms),
        "endedAt": iso(ran.at_ms),
        "sender": {
            "ci": ran.ci,
            "interactive": ran.interactive,
            "agent": ran.agent,
            "tokenId": ran.key.id,
            "tokenLabel": ran.key.label,
            "user": ran.key.user,
        },
    }


def test_run_lists_misses_first_then_hits_by_time_saved(history: History) -> None:
    for ran in history.runs[:10]:
        path = f"/v1/runs/{ran.session}"
        assert history.ask(path)["run"] == shown(ran)
        tasks = history.pages(path, "tasks", limit=3)
        told = [(task["hash"], task["outcome"], task["timeSavedMs"]) for task in tasks]
        assert Counter(told) == Counter(ran.tasks)
        places = [(outcome != "miss", -saved) for _, outcome, saved in told]
        assert places == sorted(places)
        assert {task["artifact"] for task in tasks} == {None}  # nothing was ever stored


def test_pages_join_while_new_runs_arrive(team_server: TeamServer, clock: ManualClock) -> None:
    history = History(team_server, clock, seed=3, count=30)
    sessions: list[str] = []
    for run in entries_of(history.ask, "/v1/runs", "runs", limit=4, since="60d"):
        sessions.append(run["sessionId"])
        clock.advance(1)
        history.post(history.asks.secret, body(event()))
    assert sessions == [ran.session for ran in reversed(history.runs)]


def test_fresh_report_includes_every_acknowledged_event(
    team_server: TeamServer, clock: ManualClock
) -> None:
    history = History(team_server, clock, seed=4, count=0)
    for number in range(1, 16):
        history.post(history.asks.secret, body(event()))
        assert history.ask(SUMMARY, since="1h")["runs"] == number


def test_run_is_attributed_to_its_first_event(team_server: TeamServer, clock: ManualClock) -> None:
    history = History(team_server, clock, seed=5, count=0)
    history.post(history.asks.secret, body(event(sessionId="long", hash="one")))
    clock.advance(2 * DAY_MS / 1000)
    history.post(history.asks.secret, body(event(sessionId="long", hash="two")))
    assert history.ask(SUMMARY, since="1d")["runs"] == 0
    summary = history.ask(SUMMARY, since="3d")
    assert (summary["runs"], summary["tasks"]) == (1, 2)
    [run] = history.ask("/v1/runs", since="3d")["runs"]
    assert (run["startedAt"], run["endedAt"]) == (iso(END_MS), iso(END_MS + 2 * DAY_MS))
    assert history.ask("/v1/runs", since="1d")["runs"] == []
