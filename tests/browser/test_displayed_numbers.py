"""Every number on every page is the API's, the commands' and that of the exported events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from click.testing import CliRunner

from hitrate.cli.main import cli
from hitrate.clock import ManualClock
from hitrate.events import wire
from hitrate.pages.formatting import (
    change,
    counted,
    duration,
    moment,
    number,
    percent,
    points,
    size,
)
from tests.support.expected_text import BERLIN, Answer, assert_runs, in_short, moved, saved
from tests.support.html_page import Reading
from tests.support.random_scenario import HASHES, LATE, ODD_HASH, RUNS, Ledger, write
from tests.support.reference_analytics import runs_of_recorded, totals_of
from tests.support.scenario import Place

Query = dict[str, str]

QUESTIONS: dict[str, Query] = {
    "the last 30 days": {},
    "a week": {"since": "7d"},
    "a quarter": {"since": "90d"},
    "between two moments": {"since": "2026-12-20", "until": "2027-01-03T12:30:00Z"},
    "one CI": {"ci": "GITHUB_ACTIONS"},
    "no CI": {"ci": "none", "since": "60d"},
    "people": {"interactive": "true", "since": "60d"},
    "agents": {"agent": "any", "since": "60d"},
    "an agent in a CI": {"agent": "claude", "ci": "GITLAB_CI", "since": "60d"},
    "nothing at all": {"ci": "JENKINS"},
}


@pytest.fixture(scope="module")
def ledger(place: Place, clock: ManualClock) -> Ledger:
    return write(place, clock)


@pytest.fixture(scope="module")
def visitor(ledger: Ledger) -> Iterator[httpx.Client]:
    """The owner, in Berlin."""
    with ledger.place.visitor(ledger.owner, BERLIN) as http:
        yield http


def read(visitor: httpx.Client, path: str, query: Mapping[str, str] | None = None) -> Reading:
    answer = visitor.get(f"/teams/ours{path}", params=dict(query or {}))
    assert answer.status_code == 200, answer.text
    return Reading(answer.text)


def follow(visitor: httpx.Client, link: str) -> Reading:
    answer = visitor.get(link)
    assert answer.status_code == 200, answer.text
    return Reading(answer.text)


def ask(ledger: Ledger, path: str, query: Mapping[str, Any] | None = None) -> Any:
    return ledger.place.ask(ledger.reader, path, query)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_overview_says_what_the_api_says(
    ledger: Ledger, visitor: httpx.Client, question: str
) -> None:
    query = QUESTIONS[question]
    shown, told = read(visitor, "", query), ask(ledger, "/v1/analytics/summary", query)
    before, artifacts = told["previous"], told["artifacts"]
    spent, spent_before = (sum(one["timeSavedMs"].values()) for one in (told, before))
    compared = points(told["hitRate"], before["hitRate"])
    assert shown.text("hit-rate") == f"Hit rate {percent(told['hitRate'])} {compared}"
    compared = change(spent, spent_before, duration)
    assert shown.text("time-saved") == f"Time saved {saved(told)} {compared}"
    for name in ("runs", "tasks"):
        compared = change(told[name], before[name], number)
        assert shown.text(name) == f"{name.capitalize()} {number(told[name])} {compared}"
    for name, key in (("local-hits", "localHits"), ("remote-hits", "remoteHits")):
        assert shown.text(name) == number(told[key])
    for name in ("misses", "events", "duplicates", "anomalies"):
        assert shown.text(name) == number(told[name])
    assert shown.text("saved-local") == duration(told["timeSavedMs"]["local"])
    assert shown.text("saved-remote") == duration(told["timeSavedMs"]["remote"])
    assert shown.text("uploaded") == moved(artifacts, "upload")
    assert shown.text("downloaded") == moved(artifacts, "download")
    stored = f"{size(artifacts['storedBytes'])} in {counted(artifacts['stored'], 'artifact')}"
    assert shown.text("stored").startswith(stored)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_overview_lists_the_groups_and_runs_that_the_api_lists(
    ledger: Ledger, visitor: httpx.Client, question: str
) -> None:
    query = QUESTIONS[question]
    shown = read(visitor, "", query)
    for by in ("ci", "interactive", "agent", "token"):
        groups = ask(ledger, "/v1/analytics/breakdown", {"by": by, **query})["groups"]
        rows = shown.table(f"by-{by}") if groups else []
        assert [row.cells for row in rows] == [
            {
                "Who": group["label"],
                "Hit rate": percent(group["hitRate"]),
                "Runs": number(group["runs"]),
                "Tasks": number(group["tasks"]),
                "Time saved": saved(group),
            }
            for group in groups
        ]
    for order in ("worst", "best"):
        runs = ask(ledger, "/v1/runs", {"order": order, "limit": 5, **query})["runs"]
        assert_runs(shown.table(f"{order.capitalize()} runs") if runs else [], runs)


@pytest.mark.parametrize("bucket", ["day", "week", "month"])
@pytest.mark.parametrize("question", ["a quarter", "between two moments", "one CI"])
def test_charts_have_the_parts_of_the_api_and_lead_to_their_runs(
    ledger: Ledger, visitor: httpx.Client, question: str, bucket: str
) -> None:
    query = QUESTIONS[question]
    shown = read(visitor, "", {**query, "bucket": bucket})
    told = ask(ledger, "/v1/analytics/timeseries", {**query, "bucket": bucket, "timezone": BERLIN})[
        "buckets"
    ]
    rows = shown.table(f"The numbers by {bucket}")
    drawn = shown.all(".//svg[@role='group']")
    assert len(drawn) == 3
    for chart in drawn:
        assert [link.get("href") for link in chart.iterfind("a")] == [row.links[0] for row in rows]
    for row, part in zip(rows, told, strict=True):
        assert list(row.cells.values())[1:] == [
            *(percent(rate) for rate in (part["hitRate"], *_ends(part["hitRateQuartiles"]))),
            *(
                number(part[name])
                for name in ("runs", "tasks", "localHits", "remoteHits", "misses")
            ),
            duration(part["timeSavedMs"]["local"]),
            duration(part["timeSavedMs"]["remote"]),
        ]


def _ends(bands: Answer) -> tuple[float | None, float | None]:
    return bands["p25"], bands["p75"]


def test_what_a_bar_said_is_what_it_leads_to(visitor: httpx.Client) -> None:
    listed = 0
    for row in read(visitor, "", {"since": "90d", "bucket": "week"}).table("The numbers by week"):
        page = follow(visitor, row.links[0])
        runs = page.table("Runs") if row["runs"] != "0" else []
        assert str(len(runs)) == row["runs"]
        for column, name in (("Tasks", "tasks"), ("Local", "local hits"), ("Misses", "misses")):
            assert sum(int(run[column]) for run in runs) == int(row[name].replace(",", ""))
        assert page.text("in-short").startswith(counted(len(runs), "run"))
        if runs:
            assert f" from the cache ({row['of all tasks']})" in page.text("in-short")
        listed += len(runs)
    assert listed == RUNS + 1


def test_groups_lead_to_their_runs(visitor: httpx.Client) -> None:
    shown = read(visitor, "", {"since": "90d"})
    for by in ("ci", "interactive", "agent", "token"):
        for row in shown.table(f"by-{by}"):
            page = follow(visitor, row.links[0])
            assert page.text("in-short").startswith(counted(int(row["Runs"]), "run"))
            rate = f"{row['Tasks']} tasks from the cache ({row['Hit rate']})"
            assert rate in page.text("in-short")


@pytest.mark.parametrize("order", ["newest", "best", "worst", "saved", "largest"])
def test_runs_are_listed_as_the_api_lists_them(
    ledger: Ledger, visitor: httpx.Client, order: str
) -> None:
    query = {"since": "90d", "order": order}
    told = ask(ledger, "/v1/runs", {**query, "limit": 1000})["runs"]
    page, rows = read(visitor, "/runs", query), []
    rows += page.table("Runs")
    while following := [
        link.get("href", "") for link in page.all(".//nav/a") if link.text == "Next page"
    ]:
        page = follow(visitor, following[0])
        rows += page.table("Runs")
    assert_runs(rows, told)
    assert len(rows) == RUNS + 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_period_s_runs_are_said_in_short(
    ledger: Ledger, visitor: httpx.Client, question: str
) -> None:
    query = QUESTIONS[question]
    told = ask(ledger, "/v1/analytics/summary", query)
    text = read(visitor, "/runs", query).text("in-short")
    assert text.startswith(counted(told["runs"], "run"))
    assert text.endswith(f"({BERLIN}): {in_short(told)}.")


def sessions(ledger: Ledger) -> list[str]:
    """Of the late run, and of some with duplicates, anomalies, many tasks."""
    runs = ask(ledger, "/v1/runs", {"since": "90d", "limit": 1000})["runs"]
    runs.sort(key=lambda run: (-run["duplicates"], -run["anomalies"], -run["tasks"]))
    odd = [run for run in runs if run["anomalies"]]
    return [LATE, *(run["sessionId"] for run in [*runs[:4], *odd[:2], runs[-1]])]


def test_a_run_is_shown_as_the_api_shows_it(ledger: Ledger, visitor: httpx.Client) -> None:
    for session in sessions(ledger):
        shown, told = (
            read(visitor, "/run", {"session": session}),
            ask(ledger, f"/v1/runs/{session}"),
        )
        run, spent = told["run"], told["run"]["timeSavedMs"]
        assert shown.text("in-short") == f"{in_short(run)} (times in {BERLIN})."
        assert shown.text("local-hits") == f"{run['localHits']}, {duration(spent['local'])} saved"
        assert (
            shown.text("remote-hits") == f"{run['remoteHits']}, {duration(spent['remote'])} saved"
        )
        assert shown.text("misses") == str(run["misses"])
        assert shown.text("events") == (
            f"{run['events']} (duplicates: {run['duplicates']}, anomalies: {run['anomalies']})"
        )
        for row, task in zip(shown.table("tasks"), told["tasks"], strict=True):
            made = task["artifact"]
            spent_ms = None if task["outcome"] == "miss" else task["timeSavedMs"]
            assert (row["Hash"], row["Outcome"]) == (
                task["hash"],
                task["outcome"].replace("_", " "),
            )
            assert row["Takes to run"] == duration(task["durationMs"])
            assert row["Time saved"] == duration(spent_ms)
            assert row["Artifact"] == (size(made["sizeBytes"]) if made else "not stored")


def test_a_late_batch_has_turned_a_miss_into_a_hit(visitor: httpx.Client) -> None:
    shown = read(visitor, "/run", {"session": LATE})
    assert [row["Outcome"] for row in shown.table("tasks")] == ["miss", "remote hit", "local hit"]
    assert shown.text("in-short").startswith("2 of 3 tasks from the cache (66.7 %), 1 min 02 s")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"order": "hits", "since": "90d"},
        {"order": "largest", "since": "7d"},
        {"order": "idle", "unused": "true", "since": "24h"},
    ],
    ids=["newest", "hits", "largest", "unused"],
)
def test_artifacts_are_listed_as_the_api_lists_them(
    ledger: Ledger, visitor: httpx.Client, query: Query
) -> None:
    shown, told = read(visitor, "/artifacts", query), ask(ledger, "/v1/artifacts", query)
    kept = ask(ledger, "/v1/analytics/summary")["artifacts"]
    assert shown.text("in-short").startswith(
        f"{kept['stored']} stored now, {size(kept['storedBytes'])}"
    )
    assert told["artifacts"]
    zone = ZoneInfo(BERLIN)
    assert [row.cells for row in shown.table("Artifacts")] == [
        {
            "Hash": one["hash"],
            "Size": size(one["sizeBytes"]),
            "Takes to run": duration(one["durationMs"]),
            "Made": moment(one["createdAt"], zone),
            "Last used": moment(one["lastUsedAt"], zone),
            "Local hits": number(one["hits"]["local"]),
            "Remote hits": number(one["hits"]["remote"]),
            "Time saved": duration(one["timeSavedMs"]),
        }
        for one in told["artifacts"]
    ]


@pytest.mark.parametrize("name", [HASHES[3], HASHES[0], ODD_HASH])
def test_an_artifact_is_shown_as_the_api_shows_it(
    ledger: Ledger, visitor: httpx.Client, name: str
) -> None:
    shown = read(visitor, "/artifact", {"hash": name, "since": "90d"})
    told = ask(ledger, f"/v1/artifacts/{name}", {"since": "90d"})
    artifact = told["artifact"]
    assert (artifact is None) == (name == ODD_HASH)
    if artifact:
        hits = artifact["hits"]
        assert shown.text("size") == size(artifact["sizeBytes"])
        assert shown.text("takes") == duration(artifact["durationMs"])
        assert shown.text("hits") == f"{hits['local']} local, {hits['remote']} remote"
        assert shown.text("saved") == duration(artifact["timeSavedMs"])
    rows = shown.table("uses")
    for row, use in zip(rows, told["uses"], strict=False):
        spent_ms = None if use["outcome"] == "miss" else use["timeSavedMs"]
        assert row.links == [f"/teams/ours/run?session={use['sessionId']}"]
        assert row["Outcome"].startswith(use["outcome"].replace("_", " "))
        assert row["Time saved"] == duration(spent_ms)
    assert len(rows) == min(50, len(told["uses"])) > 10


def test_usage_is_what_the_api_says(ledger: Ledger, visitor: httpx.Client) -> None:
    shown = read(visitor, "/usage")
    told = ask(ledger, f"/v1/teams/{ledger.team.id}/usage", {"cycles": 12})
    now = told["current"]
    for name in ("uploadedBytes", "downloadedBytes", "requests", "events", "storedBytes"):
        shape = size if name.endswith("Bytes") else number
        own = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        assert shown.text(f"used-{own}") == shape(now["used"][name])
        assert shown.text(f"expected-{own}") == shape(now["forecast"][name])
        assert shown.text(f"limit-{own}") == "no limit"
    assert shown.text("used-cost") == f"{now['used']['cost']} {told['currency']}"
    past = shown.table("past")
    assert [row["Events"] for row in past] == [
        number(one["used"]["events"]) for one in told["past"]
    ]
    assert [row["Uploaded"] for row in past] == [
        size(one["used"]["uploadedBytes"]) for one in told["past"]
    ]
    assert len(past) >= 2


@pytest.mark.parametrize("question", ["the last 30 days", "a quarter", "one CI", "agents"])
def test_exported_events_come_to_the_same(
    ledger: Ledger, visitor: httpx.Client, question: str
) -> None:
    query = {"since": "30d", **QUESTIONS[question]}
    lines = ledger.place.fetch(ledger.reader, "/v1/export/events", query).splitlines()
    runs = ledger.place.fetch(ledger.reader, "/v1/export/runs", query).splitlines()
    folded = totals_of(runs_of_recorded(_batch(json.loads(line)) for line in lines).values())
    shown = read(visitor, "", query)
    assert shown.text("runs").startswith(f"Runs {number(folded.runs)} ")
    assert shown.text("tasks").startswith(f"Tasks {number(folded.tasks)} ")
    assert shown.text("hit-rate").startswith(f"Hit rate {percent(folded.hit_rate)} ")
    assert shown.text("local-hits") == number(folded.local_hits)
    assert shown.text("remote-hits") == number(folded.remote_hits)
    assert shown.text("misses") == number(folded.misses)
    assert shown.text("saved-local") == duration(folded.local_ms)
    assert shown.text("saved-remote") == duration(folded.remote_ms)
    assert shown.text("events") == number(folded.events)
    assert shown.text("anomalies") == number(folded.anomalies)
    # Events that were dropped because they had come before are in no export, but runs count them.
    assert len(runs) == folded.runs
    assert shown.text("duplicates") == number(sum(json.loads(run)["duplicates"] for run in runs))


def _batch(line: Answer) -> wire.Batch:
    """An exported event as a batch of its own."""
    told = line["duration"]
    if not told and (line["source"], line["event"]) == ("REMOTE", "HIT"):
        told = line["artifactDuration"]
    event = wire.CacheEvent(
        line["sessionId"], line["source"], line["event"], line["hash"], told or 0.0
    )
    received_at = round(datetime.fromisoformat(line["receivedAt"]).timestamp() * 1000)
    sender = (line["ci"], line["interactive"], line["agent"])
    return wire.Batch("ours", line["tokenId"], received_at, *sender, str(line["id"]), [event])


def command(ledger: Ledger, *arguments: str) -> Any:
    """What a command says, as JSON."""
    surroundings = {
        "TURBO_API": ledger.place.server.url,
        "TURBO_TOKEN": ledger.reader.secret,
        "TURBO_TEAM": "ours",
        "TURBO_TEAMID": None,
    }
    done = CliRunner().invoke(cli, [*arguments, "--json"], env=surroundings)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_commands_say_what_pages_say(ledger: Ledger, visitor: httpx.Client) -> None:
    told = command(ledger, "stats", "--since", "30d", "--by", "agent")
    shown = read(visitor, "")
    assert shown.text("hit-rate").startswith(f"Hit rate {percent(told['summary']['hitRate'])} ")
    assert shown.text("duplicates") == number(told["summary"]["duplicates"])
    assert [row["Tasks"] for row in shown.table("by-agent")] == [
        number(group["tasks"]) for group in told["breakdown"]["groups"]
    ]
    runs = command(ledger, "runs", "--since", "30d", "--order", "worst", "--limit", "5")["runs"]
    assert_runs(shown.table("Worst runs"), runs)
    run = command(ledger, "run", LATE)["run"]
    assert read(visitor, "/run", {"session": LATE}).text("in-short").startswith(in_short(run))
    artifacts = command(ledger, "artifacts", "--order", "largest", "--since", "30d")["artifacts"]
    rows = read(visitor, "/artifacts", {"order": "largest"}).table("Artifacts")
    assert [row["Hash"] for row in rows] == [artifact["hash"] for artifact in artifacts]
