"""Pages display the same numbers as the API, the commands and the exported events."""

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
    amount_change,
    duration,
    number,
    percent,
    rate_change,
    size,
    time_text,
)
from hitrate.units import format_count
from tests.support.expected_text import (
    BERLIN,
    Report,
    assert_run_rows,
    time_saved_text,
    totals_text,
    transfer_text,
)
from tests.support.html_page import HtmlPage
from tests.support.random_scenario import (
    HASHES,
    LATE_SESSION,
    RUN_COUNT,
    UNUSUAL_HASH,
    RandomScenario,
    create_random_scenario,
)
from tests.support.reference_analytics import runs_of_recorded, totals_of
from tests.support.scenario import PageServer

Params = dict[str, str]

QUERIES: dict[str, Params] = {
    "the last 30 days": {},
    "a week": {"since": "7d"},
    "a quarter": {"since": "90d"},
    "between two times": {"since": "2026-12-20", "until": "2027-01-03T12:30:00Z"},
    "one CI": {"ci": "GITHUB_ACTIONS"},
    "no CI": {"ci": "none", "since": "60d"},
    "interactive": {"interactive": "true", "since": "60d"},
    "agents": {"agent": "any", "since": "60d"},
    "an agent in CI": {"agent": "claude", "ci": "GITLAB_CI", "since": "60d"},
    "no runs": {"ci": "JENKINS"},
}


BREAKDOWNS = {"ci": "CI", "interactive": "Terminal", "agent": "Agent", "token": "Token"}
"""The header of the first column of each breakdown."""

TABLE_TITLES = {
    "day": "Data table (daily)",
    "week": "Data table (weekly)",
    "month": "Data table (monthly)",
}


@pytest.fixture(scope="module")
def scenario(page_server: PageServer, clock: ManualClock) -> RandomScenario:
    return create_random_scenario(page_server, clock)


@pytest.fixture(scope="module")
def http(scenario: RandomScenario) -> Iterator[httpx.Client]:
    """An HTTP client of the owner, in Berlin."""
    with scenario.server.browse_as(scenario.owner, BERLIN) as client:
        yield client


def open_page(http: httpx.Client, path: str, params: Mapping[str, str] | None = None) -> HtmlPage:
    response = http.get(f"/teams/ours{path}", params=dict(params or {}))
    assert response.status_code == 200, response.text
    return HtmlPage(response.text)


def open_link(http: httpx.Client, link: str) -> HtmlPage:
    response = http.get(link)
    assert response.status_code == 200, response.text
    return HtmlPage(response.text)


def report(scenario: RandomScenario, path: str, params: Mapping[str, Any] | None = None) -> Any:
    """Return a report of the analytics API."""
    return scenario.server.get_json(scenario.reader, path, params)


@pytest.mark.parametrize("name", QUERIES)
def test_overview_displays_the_summary(
    scenario: RandomScenario, http: httpx.Client, name: str
) -> None:
    params = QUERIES[name]
    page, summary = open_page(http, "", params), report(scenario, "/v1/analytics/summary", params)
    previous, artifacts = summary["previous"], summary["artifacts"]
    saved_ms, previous_saved_ms = (sum(s["timeSavedMs"].values()) for s in (summary, previous))
    comparison = rate_change(summary["hitRate"], previous["hitRate"])
    assert page.text("hit-rate") == f"Hit rate {percent(summary['hitRate'])} {comparison}"
    comparison = amount_change(saved_ms, previous_saved_ms, duration)
    assert page.text("time-saved") == f"Time saved {time_saved_text(summary)} {comparison}"
    for count in ("runs", "tasks"):
        comparison = amount_change(summary[count], previous[count], number)
        assert page.text(count) == f"{count.capitalize()} {number(summary[count])} {comparison}"
    for element, key in (("local-hits", "localHits"), ("remote-hits", "remoteHits")):
        assert page.text(element) == number(summary[key])
    for count in ("misses", "events", "duplicates", "anomalies"):
        assert page.text(count) == number(summary[count])
    assert page.text("saved-local") == duration(summary["timeSavedMs"]["local"])
    assert page.text("saved-remote") == duration(summary["timeSavedMs"]["remote"])
    assert page.text("uploaded") == transfer_text(artifacts, "upload")
    assert page.text("downloaded") == transfer_text(artifacts, "download")
    stored = f"{size(artifacts['storedBytes'])} in {format_count(artifacts['stored'], 'artifact')}"
    assert page.text("stored").startswith(stored)


@pytest.mark.parametrize("name", QUERIES)
def test_overview_lists_breakdowns_and_runs(
    scenario: RandomScenario, http: httpx.Client, name: str
) -> None:
    params = QUERIES[name]
    page = open_page(http, "", params)
    for by, column in BREAKDOWNS.items():
        groups = report(scenario, "/v1/analytics/breakdown", {"by": by, **params})["groups"]
        rows = page.table(f"by-{by}") if groups else []
        assert [row.cells for row in rows] == [
            {
                column: group["label"],
                "Hit rate": percent(group["hitRate"]),
                "Runs": number(group["runs"]),
                "Tasks": number(group["tasks"]),
                "Time saved": time_saved_text(group),
            }
            for group in groups
        ]
    for order in ("worst", "best"):
        runs = report(scenario, "/v1/runs", {"order": order, "limit": 5, **params})["runs"]
        assert_run_rows(page.table(f"{order.capitalize()} runs") if runs else [], runs)


@pytest.mark.parametrize("bucket", ["day", "week", "month"])
@pytest.mark.parametrize("name", ["a quarter", "between two times", "one CI"])
def test_charts_have_the_buckets_of_the_time_series_and_link_to_their_runs(
    scenario: RandomScenario, http: httpx.Client, name: str, bucket: str
) -> None:
    params = {**QUERIES[name], "bucket": bucket}
    page = open_page(http, "", params)
    series = report(scenario, "/v1/analytics/timeseries", {**params, "timezone": BERLIN})
    rows = page.table(TABLE_TITLES[bucket])
    charts = page.find_all(".//svg[@role='group']")
    assert len(charts) == 3
    for chart in charts:
        assert [link.get("href") for link in chart.iterfind("a")] == [row.links[0] for row in rows]
    for row, point in zip(rows, series["buckets"], strict=True):
        quartiles = point["hitRateQuartiles"]
        assert list(row.cells.values())[1:] == [
            *(percent(rate) for rate in (point["hitRate"], quartiles["p25"], quartiles["p75"])),
            *(
                number(point[count])
                for count in ("runs", "tasks", "localHits", "remoteHits", "misses")
            ),
            duration(point["timeSavedMs"]["local"]),
            duration(point["timeSavedMs"]["remote"]),
        ]


def test_runs_behind_a_chart_bucket_add_up_to_its_numbers(http: httpx.Client) -> None:
    run_count = 0
    for row in open_page(http, "", {"since": "90d", "bucket": "week"}).table(TABLE_TITLES["week"]):
        page = open_link(http, row.links[0])
        runs = page.table("Runs") if row["Runs"] != "0" else []
        assert str(len(runs)) == row["Runs"]
        for column in ("Tasks", "Local hits", "Misses"):
            assert sum(int(run[column]) for run in runs) == int(row[column].replace(",", ""))
        assert page.text("totals").startswith(format_count(len(runs), "run"))
        if runs:
            assert f" from the cache ({row['All tasks']})" in page.text("totals")
        run_count += len(runs)
    assert run_count == RUN_COUNT + 1


def test_runs_behind_a_breakdown_group_add_up_to_its_numbers(http: httpx.Client) -> None:
    overview = open_page(http, "", {"since": "90d"})
    for by in BREAKDOWNS:
        for row in overview.table(f"by-{by}"):
            page = open_link(http, row.links[0])
            assert page.text("totals").startswith(format_count(int(row["Runs"]), "run"))
            rate = f"{row['Tasks']} tasks from the cache ({row['Hit rate']})"
            assert rate in page.text("totals")


@pytest.mark.parametrize("order", ["newest", "best", "worst", "saved", "largest"])
def test_runs_are_listed_in_the_order_of_the_api(
    scenario: RandomScenario, http: httpx.Client, order: str
) -> None:
    params = {"since": "90d", "order": order}
    runs = report(scenario, "/v1/runs", {**params, "limit": 1000})["runs"]
    page, rows = open_page(http, "/runs", params), []
    rows += page.table("Runs")
    while next_links := [
        link.get("href", "") for link in page.find_all(".//nav/a") if link.text == "Next page"
    ]:
        page = open_link(http, next_links[0])
        rows += page.table("Runs")
    assert_run_rows(rows, runs)
    assert len(rows) == RUN_COUNT + 1


@pytest.mark.parametrize("name", QUERIES)
def test_run_list_displays_the_totals_of_the_period(
    scenario: RandomScenario, http: httpx.Client, name: str
) -> None:
    params = QUERIES[name]
    summary = report(scenario, "/v1/analytics/summary", params)
    text = open_page(http, "/runs", params).text("totals")
    assert text.startswith(format_count(summary["runs"], "run"))
    assert text.endswith(f"({BERLIN}): {totals_text(summary)}.")


def sample_sessions(scenario: RandomScenario) -> list[str]:
    """Return sessions of the late run, and of runs with duplicates, anomalies and many tasks."""
    runs = report(scenario, "/v1/runs", {"since": "90d", "limit": 1000})["runs"]
    runs.sort(key=lambda run: (-run["duplicates"], -run["anomalies"], -run["tasks"]))
    with_anomalies = [run for run in runs if run["anomalies"]]
    sample = [*runs[:4], *with_anomalies[:2], runs[-1]]
    return [LATE_SESSION, *(run["sessionId"] for run in sample)]


def test_run_page_displays_the_run_and_its_tasks(
    scenario: RandomScenario, http: httpx.Client
) -> None:
    for session in sample_sessions(scenario):
        page = open_page(http, "/run", {"session": session})
        detail = report(scenario, f"/v1/runs/{session}")
        run, saved_ms = detail["run"], detail["run"]["timeSavedMs"]
        assert page.text("totals") == f"{totals_text(run)}. Times in {BERLIN}."
        for source in ("local", "remote"):
            expected = f"{run[f'{source}Hits']}, {duration(saved_ms[source])} saved"
            assert page.text(f"{source}-hits") == expected
        assert page.text("misses") == str(run["misses"])
        assert page.text("events") == (
            f"{run['events']} (duplicates: {run['duplicates']}, anomalies: {run['anomalies']})"
        )
        for row, task in zip(page.table("tasks"), detail["tasks"], strict=True):
            artifact = task["artifact"]
            task_saved_ms = None if task["outcome"] == "miss" else task["timeSavedMs"]
            assert (row["Hash"], row["Outcome"]) == (
                task["hash"],
                task["outcome"].replace("_", " "),
            )
            assert row["Duration"] == duration(task["durationMs"])
            assert row["Time saved"] == duration(task_saved_ms)
            assert row["Artifact"] == (size(artifact["sizeBytes"]) if artifact else "not stored")


def test_late_batch_turns_a_miss_into_a_hit(http: httpx.Client) -> None:
    page = open_page(http, "/run", {"session": LATE_SESSION})
    assert [row["Outcome"] for row in page.table("tasks")] == ["miss", "remote hit", "local hit"]
    assert page.text("totals").startswith("2 of 3 tasks from the cache (66.7 %), 1 min 02 s")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"order": "hits", "since": "90d"},
        {"order": "largest", "since": "7d"},
        {"order": "idle", "unused": "true", "since": "24h"},
    ],
    ids=["newest", "hits", "largest", "unused"],
)
def test_artifacts_are_listed_in_the_order_of_the_api(
    scenario: RandomScenario, http: httpx.Client, params: Params
) -> None:
    page = open_page(http, "/artifacts", params)
    artifacts = report(scenario, "/v1/artifacts", params)["artifacts"]
    stored = report(scenario, "/v1/analytics/summary")["artifacts"]
    assert page.text("totals").startswith(
        f"{format_count(stored['stored'], 'artifact')} stored now, {size(stored['storedBytes'])}"
    )
    assert artifacts
    zone = ZoneInfo(BERLIN)
    assert [row.cells for row in page.table("Artifacts")] == [
        {
            "Hash": artifact["hash"],
            "Size": size(artifact["sizeBytes"]),
            "Duration": duration(artifact["durationMs"]),
            "Created": time_text(artifact["createdAt"], zone),
            "Last used": time_text(artifact["lastUsedAt"], zone),
            "Local hits": number(artifact["hits"]["local"]),
            "Remote hits": number(artifact["hits"]["remote"]),
            "Time saved": duration(artifact["timeSavedMs"]),
        }
        for artifact in artifacts
    ]


@pytest.mark.parametrize("artifact_hash", [HASHES[3], HASHES[0], UNUSUAL_HASH])
def test_artifact_page_displays_the_artifact_and_its_uses(
    scenario: RandomScenario, http: httpx.Client, artifact_hash: str
) -> None:
    page = open_page(http, "/artifact", {"hash": artifact_hash, "since": "90d"})
    detail = report(scenario, f"/v1/artifacts/{artifact_hash}", {"since": "90d"})
    artifact = detail["artifact"]
    assert (artifact is None) == (artifact_hash == UNUSUAL_HASH)
    if artifact:
        hits = artifact["hits"]
        assert page.text("size") == size(artifact["sizeBytes"])
        assert page.text("duration") == duration(artifact["durationMs"])
        assert page.text("hits") == f"{hits['local']} local, {hits['remote']} remote"
        assert page.text("saved") == duration(artifact["timeSavedMs"])
    rows = page.table("uses")
    for row, use in zip(rows, detail["uses"], strict=False):
        saved_ms = None if use["outcome"] == "miss" else use["timeSavedMs"]
        assert row.links == [f"/teams/ours/run?session={use['sessionId']}"]
        assert row["Outcome"].startswith(use["outcome"].replace("_", " "))
        assert row["Time saved"] == duration(saved_ms)
    assert len(rows) == min(50, len(detail["uses"])) > 10


def test_usage_page_displays_the_billing_cycles(
    scenario: RandomScenario, http: httpx.Client
) -> None:
    page = open_page(http, "/usage")
    usage = report(scenario, f"/v1/teams/{scenario.team.id}/usage", {"cycles": 12})
    cycle = usage["current"]
    for name in ("uploadedBytes", "downloadedBytes", "requests", "events", "storedBytes"):
        text = size if name.endswith("Bytes") else number
        measure = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        assert page.text(f"used-{measure}") == text(cycle["used"][name])
        assert page.text(f"forecast-{measure}") == text(cycle["forecast"][name])
        assert page.text(f"limit-{measure}") == "No limit"
    assert page.text("used-cost") == f"{cycle['used']['cost']} {usage['currency']}"
    rows = page.table("previous-cycles")
    assert [row["Events"] for row in rows] == [
        number(past["used"]["events"]) for past in usage["past"]
    ]
    assert [row["Uploaded"] for row in rows] == [
        size(past["used"]["uploadedBytes"]) for past in usage["past"]
    ]
    assert len(rows) >= 2


@pytest.mark.parametrize("name", ["the last 30 days", "a quarter", "one CI", "agents"])
def test_exported_events_add_up_to_the_overview(
    scenario: RandomScenario, http: httpx.Client, name: str
) -> None:
    params = {"since": "30d", **QUERIES[name]}
    lines = scenario.server.get_text(scenario.reader, "/v1/export/events", params).splitlines()
    runs = scenario.server.get_text(scenario.reader, "/v1/export/runs", params).splitlines()
    totals = totals_of(runs_of_recorded(_batch(json.loads(line)) for line in lines).values())
    page = open_page(http, "", params)
    assert page.text("runs").startswith(f"Runs {number(totals.runs)} ")
    assert page.text("tasks").startswith(f"Tasks {number(totals.tasks)} ")
    assert page.text("hit-rate").startswith(f"Hit rate {percent(totals.hit_rate)} ")
    assert page.text("local-hits") == number(totals.local_hits)
    assert page.text("remote-hits") == number(totals.remote_hits)
    assert page.text("misses") == number(totals.misses)
    assert page.text("saved-local") == duration(totals.local_ms)
    assert page.text("saved-remote") == duration(totals.remote_ms)
    assert page.text("events") == number(totals.events)
    assert page.text("anomalies") == number(totals.anomalies)
    # Events of re-sent batches are not exported, but counted in runs.
    assert len(runs) == totals.runs
    assert page.text("duplicates") == number(sum(json.loads(run)["duplicates"] for run in runs))


def _batch(event: Report) -> wire.Batch:
    """Convert an exported event to a batch with this event only."""
    duration_ms = event["duration"]
    if not duration_ms and (event["source"], event["event"]) == ("REMOTE", "HIT"):
        duration_ms = event["artifactDuration"]
    cache_event = wire.CacheEvent(
        event["sessionId"], event["source"], event["event"], event["hash"], duration_ms or 0.0
    )
    received_at = round(datetime.fromisoformat(event["receivedAt"]).timestamp() * 1000)
    client = (event["ci"], event["interactive"], event["agent"])
    batch_id = str(event["id"])
    return wire.Batch("ours", event["tokenId"], received_at, *client, batch_id, [cache_event])


def run_command(scenario: RandomScenario, *arguments: str) -> Any:
    """Run `hitrate` with `--json` and return its output."""
    environment = {
        "TURBO_API": scenario.server.url,
        "TURBO_TOKEN": scenario.reader.secret,
        "TURBO_TEAM": "ours",
        "TURBO_TEAMID": None,
    }
    result = CliRunner().invoke(cli, [*arguments, "--json"], env=environment)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_commands_print_the_numbers_of_the_pages(
    scenario: RandomScenario, http: httpx.Client
) -> None:
    stats = run_command(scenario, "stats", "--since", "30d", "--by", "agent")
    overview = open_page(http, "")
    assert overview.text("hit-rate").startswith(f"Hit rate {percent(stats['summary']['hitRate'])} ")
    assert overview.text("duplicates") == number(stats["summary"]["duplicates"])
    assert [row["Tasks"] for row in overview.table("by-agent")] == [
        number(group["tasks"]) for group in stats["breakdown"]["groups"]
    ]
    worst = run_command(scenario, "runs", "--since", "30d", "--order", "worst", "--limit", "5")
    assert_run_rows(overview.table("Worst runs"), worst["runs"])
    run = run_command(scenario, "run", LATE_SESSION)["run"]
    run_page = open_page(http, "/run", {"session": LATE_SESSION})
    assert run_page.text("totals").startswith(totals_text(run))
    largest = run_command(scenario, "artifacts", "--order", "largest", "--since", "30d")
    rows = open_page(http, "/artifacts", {"order": "largest"}).table("Artifacts")
    assert [row["Hash"] for row in rows] == [artifact["hash"] for artifact in largest["artifacts"]]
