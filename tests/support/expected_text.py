"""What pages have to say of an answer of the API, in the same words."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from hitrate.pages.formatting import counted, duration, moment, number, percent, size
from tests.support.html_page import Row

BERLIN = "Europe/Berlin"

Answer = dict[str, Any]


def saved(told: Answer) -> str:
    return duration(told["timeSavedMs"]["local"] + told["timeSavedMs"]["remote"])


def moved(artifacts: Answer, way: str) -> str:
    return f"{size(artifacts[f'{way}edBytes'])} in {counted(artifacts[f'{way}s'], 'artifact')}"


def in_short(told: Answer) -> str:
    hits = number(told["localHits"] + told["remoteHits"])
    rate = f" ({percent(told['hitRate'])})" if told["tasks"] else ""
    return f"{hits} of {counted(told['tasks'], 'task')} from the cache{rate}, {saved(told)} saved"


def run_row(run: Answer) -> dict[str, str]:
    """A run as tables show it, without who sent it."""
    return {
        "Began": moment(run["startedAt"], ZoneInfo(BERLIN)),
        "Hit rate": percent(run["hitRate"]),
        "Outcomes": "",
        "Tasks": number(run["tasks"]),
        "Local": number(run["localHits"]),
        "Remote": number(run["remoteHits"]),
        "Misses": number(run["misses"]),
        "Time saved": saved(run),
    }


def assert_runs(rows: list[Row], runs: list[Answer]) -> None:
    shown = [{name: text for name, text in row.cells.items() if name != "Sent by"} for row in rows]
    assert shown == [run_row(run) for run in runs]
    for row, run in zip(rows, runs, strict=True):
        assert row.links == [f"/teams/ours/run?session={run['sessionId']}"]
        sender = run["sender"]
        words = [sender["user"] or sender["tokenLabel"], sender["ci"], sender["agent"]]
        words.append("interactive" if sender["interactive"] else None)
        assert row["Sent by"] == " ".join(word for word in words if word)
