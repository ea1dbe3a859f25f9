"""The text that pages must display for a response of the analytics API."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from hitrate.pages.formatting import duration, number, percent, size, time_text
from hitrate.units import format_count
from tests.support.html_page import Row

BERLIN = "Europe/Berlin"

Report = dict[str, Any]


def time_saved_text(stats: Report) -> str:
    return duration(stats["timeSavedMs"]["local"] + stats["timeSavedMs"]["remote"])


def transfer_text(artifacts: Report, direction: str) -> str:
    """Describe what was transferred; `direction` is `upload` or `download`."""
    count = format_count(artifacts[f"{direction}s"], "artifact")
    return f"{size(artifacts[f'{direction}edBytes'])} in {count}"


def totals_text(stats: Report) -> str:
    hits = number(stats["localHits"] + stats["remoteHits"])
    rate = f" ({percent(stats['hitRate'])})" if stats["tasks"] else ""
    tasks = format_count(stats["tasks"], "task")
    return f"{hits} of {tasks} from the cache{rate}, {time_saved_text(stats)} saved"


def run_row(run: Report) -> dict[str, str]:
    """Return the cells of a run in a table, except its client."""
    return {
        "Started": time_text(run["startedAt"], ZoneInfo(BERLIN)),
        "Hit rate": percent(run["hitRate"]),
        "Outcomes": "",
        "Tasks": number(run["tasks"]),
        "Local hits": number(run["localHits"]),
        "Remote hits": number(run["remoteHits"]),
        "Misses": number(run["misses"]),
        "Time saved": time_saved_text(run),
    }


def assert_run_rows(rows: list[Row], runs: list[Report]) -> None:
    """Check that the rows of a table are exactly these runs, in this order."""
    cells = [{name: text for name, text in row.cells.items() if name != "Sent by"} for row in rows]
    assert cells == [run_row(run) for run in runs]
    for row, run in zip(rows, runs, strict=True):
        assert row.links == [f"/teams/ours/run?session={run['sessionId']}"]
        client = run["sender"]
        parts = [client["user"] or client["tokenLabel"], client["ci"], client["agent"]]
        parts.append("interactive" if client["interactive"] else None)
        assert row["Sent by"] == " ".join(part for part in parts if part)
