"""`hitrate runs`, `run` and `artifacts`: the API's lists, in a terminal, a pipe and as JSON."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.remote_cli import COLD, Workshop
from tests.support.server import Server

MANY = 1003
ODD = "a/b ?x=#1%41|`<i>\x1b[31m"


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    """Three runs, and two artifacts of which one was hit."""
    workshop = Workshop(shared_server)
    workshop.store("slow", 90_000, 2_500_000)
    workshop.store("idle", 10)
    workshop.record("cold", *({**one, "hash": "slow"} for one in COLD))
    workshop.record(
        "warm",
        {"hash": "slow", "source": "REMOTE", "duration": 90_000},
        {"hash": "other", "duration": 500},
        artifact_client_ci="GITLAB",
        ai_agent="cursor",
    )
    workshop.record(ODD, {"hash": "\x1b]0;title\x07", "duration": 1})
    return workshop


@pytest.fixture(scope="module")
def crowd(shared_server: Server) -> Workshop:
    """More runs, and more tasks in one, than a page has."""
    workshop = Workshop(shared_server)
    workshop.record("large", *({"hash": f"{n:016x}"} for n in range(MANY)))
    workshop.record("", *({"sessionId": f"run-{n}", "hash": "h"} for n in range(MANY - 1)))
    return workshop


@pytest.mark.parametrize("order", ["newest", "best", "worst", "saved", "largest"])
def test_runs_as_json_are_the_apis_own(workshop: Workshop, order: str) -> None:
    period = {"since": "2026-01-01", "until": "2099-01-01"}
    shown = workshop.json("runs", "--order", order, "--limit", "2", "--since", "2026-01-01",
                          "--until", "2099-01-01")  # fmt: skip
    assert shown == workshop.ask("/v1/runs", order=order, limit=2, **period)


def test_runs_are_a_table_with_a_line_each(workshop: Workshop) -> None:
    printed = workshop.ok("runs")
    [warm] = [line for line in printed.splitlines() if "warm" in line]
    cells = [cell.strip() for cell in warm.split("  ") if cell.strip()]
    assert cells[1:8] == ["warm", "2", "100.0 %", "1", "1", "0", "1m30s"]
    assert cells[8].startswith("GITLAB, cursor, ")
    assert cells[0] == workshop.ask("/v1/runs/warm")["run"]["startedAt"][:16].replace("T", " ")


@pytest.mark.parametrize(
    ("filters", "sessions"),
    [(["--ci", "GITLAB"], ["warm"]), (["--ci", "none"], [ODD, "cold"]),
     (["--agent", "any"], ["warm"]), (["--interactive", "true"], []),
     (["--token", "current"], [ODD, "warm", "cold"]), (["--token", "tok_x"], []),
     (["--until", "2020-01-01", "--since", "2019-01-01"], [])],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)  # fmt: skip
def test_runs_may_be_chosen_by_who_ran_them(
    workshop: Workshop, filters: list[str], sessions: list[str]
) -> None:
    shown = workshop.json("runs", *filters)["runs"]
    assert [run["sessionId"] for run in shown] == sessions
    if not sessions:
        assert "--since looks further back" in workshop.ok("runs", *filters)


def test_a_list_that_is_cut_short_says_so(workshop: Workshop) -> None:
    done = workshop.run("runs", "--limit", "2")
    assert done.stderr == "There are more than these 2; --limit shows more.\n"
    assert workshop.run("runs", "--limit", "3").stderr == ""


def test_more_runs_than_a_page_has_are_listed_once_each(crowd: Workshop) -> None:
    shown = crowd.json("runs", "--limit", "5000")
    assert len({run["sessionId"] for run in shown["runs"]}) == len(shown["runs"]) == MANY
    assert shown["nextCursor"] is None
    some = crowd.json("runs", "--limit", str(MANY - 1))
    assert (len(some["runs"]), some["nextCursor"]) == (MANY - 1, str(MANY - 1))


def test_more_tasks_than_a_page_has_are_listed_once_each(crowd: Workshop) -> None:
    shown = crowd.json("run", "large", "--limit", "5000")
    assert len({task["hash"] for task in shown["tasks"]}) == len(shown["tasks"]) == MANY
    done = crowd.run("run", "large")
    assert done.stderr == "These are 100 of 1,003 tasks; --limit shows more.\n"


@pytest.mark.parametrize("session", ["cold", "warm", ODD], ids=["cold", "warm", "odd"])
def test_a_run_as_json_is_the_apis_own(workshop: Workshop, session: str) -> None:
    assert workshop.json("run", session) == workshop.ask(f"/v1/runs/{quote(session, safe='')}")


def test_a_run_shows_its_tasks_with_the_artifact(workshop: Workshop) -> None:
    first, second, _, *table = workshop.ok("run", "cold").splitlines()
    assert first.startswith("Run cold, ")
    assert second == "0 of 1 task from cache, 0s saved; hit rate 0.0 %: 0 local, 0 remote, 1 missed"
    assert [cell.strip() for cell in table[2].split("  ") if cell.strip()][:4] == [
        "slow", "miss", "1m30s", "2.5 MB",
    ]  # fmt: skip


def test_a_run_is_there_as_soon_as_its_events_were_answered(workshop: Workshop) -> None:
    content = b'[{"sessionId":"just-now","source":"LOCAL","event":"HIT","hash":"h","duration":1}]'
    answer = workshop.server.request(
        "POST", "/v8/artifacts/events", content=content, token=workshop.token
    )
    assert answer.status_code == 200
    assert "1 of 1 task from cache" in workshop.ok("run", "just-now")


@pytest.mark.parametrize("session", ["nobody", "", ".", "..", "/", "../../healthz"])
def test_a_run_that_is_not_there_is_one_clear_line(workshop: Workshop, session: str) -> None:
    said = workshop.refused("run", session)
    assert "no run" in said or "of no run" in said


@pytest.mark.parametrize("command", [["runs"], ["run", ODD]], ids=["runs", "run"])
def test_what_would_steer_a_terminal_is_shown_instead(
    workshop: Workshop, command: list[str]
) -> None:
    shown = workshop.in_terminal(*command, NO_COLOR="1")
    assert "\\x1b[31m" in shown.replace("\n", "")
    assert "\x1b[31m" not in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    piped = workshop.process(*command).stdout
    assert "\x1b" not in piped
    assert "\\x1b" in piped


@pytest.mark.parametrize(
    "order", ["newest", "oldest", "largest", "smallest", "recent", "idle", "hits"]
)
@pytest.mark.parametrize("unused", [False, True], ids=["all", "unused"])
def test_artifacts_as_json_are_the_apis_own(workshop: Workshop, order: str, unused: bool) -> None:
    flags = ["--unused"] if unused else []
    query: dict[str, Any] = {"unused": "true"} if unused else {}
    period = {"since": "2026-01-01", "until": "2099-01-01"}
    shown = workshop.json("artifacts", "--order", order, *flags, "--since", "2026-01-01",
                          "--until", "2099-01-01")  # fmt: skip
    assert shown == workshop.ask("/v1/artifacts", order=order, limit=20, **query, **period)
    expected = {"idle"} if unused else {"slow"} if order == "hits" else {"slow", "idle"}
    assert {one["hash"] for one in shown["artifacts"]} == expected


def test_artifacts_are_a_table_with_a_line_each(workshop: Workshop) -> None:
    [slow] = [line for line in workshop.ok("artifacts").splitlines() if line.startswith("slow")]
    cells = [cell.strip() for cell in slow.split("  ") if cell.strip()]
    assert cells[:6] == ["slow", "2.5 MB", "1m30s", "0", "1", "1m30s"]


def test_a_team_without_artifacts_says_so(crowd: Workshop) -> None:
    assert "No artifacts are stored" in crowd.ok("artifacts")
    assert "or none is stored" in crowd.ok("artifacts", "--unused")


@pytest.mark.parametrize("command", [["runs"], ["run", "warm"], ["artifacts"]], ids=" ".join)
def test_lists_are_of_both_ways_the_same(workshop: Workshop, command: list[str]) -> None:
    whole = [*command, "--team", workshop.slug]
    assert workshop.operator(*whole).stdout == workshop.ok(*whole)
