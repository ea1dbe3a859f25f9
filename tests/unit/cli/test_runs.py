"""`hitrate runs`, `run` and `artifacts`: tables, JSON, filters and paging."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.remote_cli import MISS_EVENTS, RemoteCli
from tests.support.server import Server

ITEMS = 1003  # more than a page
ODD = "a/b ?x=#1%41|`<i>\x1b[31m"


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with three runs and two artifacts, one of them unused."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.upload("slow", 90_000, 2_500_000)
    remote_cli.upload("idle", 10)
    remote_cli.record("cold", *({**fields, "hash": "slow"} for fields in MISS_EVENTS))
    remote_cli.record(
        "warm",
        {"hash": "slow", "source": "REMOTE", "duration": 90_000},
        {"hash": "other", "duration": 500},
        artifact_client_ci="GITLAB",
        ai_agent="cursor",
    )
    remote_cli.record(ODD, {"hash": "\x1b]0;title\x07", "duration": 1})
    return remote_cli


@pytest.fixture(scope="module")
def large_team_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with more runs than a page, one of them with more tasks."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.record("large", *({"hash": f"{n:016x}"} for n in range(ITEMS)))
    remote_cli.record("", *({"sessionId": f"run-{n}", "hash": "h"} for n in range(ITEMS - 1)))
    return remote_cli


@pytest.mark.parametrize("order", ["newest", "best", "worst", "saved", "largest"])
def test_runs_as_json_is_the_response_of_the_api(remote_cli: RemoteCli, order: str) -> None:
    period = {"since": "2026-01-01", "until": "2099-01-01"}
    output = remote_cli.run_json("runs", "--order", order, "--limit", "2", "--since", "2026-01-01",
                          "--until", "2099-01-01")  # fmt: skip
    assert output == remote_cli.get_json("/v1/runs", order=order, limit=2, **period)


def test_runs_prints_a_table_with_one_line_per_run(remote_cli: RemoteCli) -> None:
    output = remote_cli.run_ok("runs")
    [warm] = [line for line in output.splitlines() if "warm" in line]
    cells = [cell.strip() for cell in warm.split("  ") if cell.strip()]
    assert cells[1:8] == ["warm", "2", "100.0 %", "1", "1", "0", "1m30s"]
    assert cells[8].startswith("GITLAB, cursor, ")
    assert cells[0] == remote_cli.get_json("/v1/runs/warm")["run"]["startedAt"][:16].replace(
        "T", " "
    )


@pytest.mark.parametrize(
    ("filters", "sessions"),
    [(["--ci", "GITLAB"], ["warm"]), (["--ci", "none"], [ODD, "cold"]),
     (["--agent", "any"], ["warm"]), (["--interactive", "true"], []),
     (["--token", "current"], [ODD, "warm", "cold"]), (["--token", "tok_x"], []),
     (["--until", "2020-01-01", "--since", "2019-01-01"], [])],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)  # fmt: skip
def test_runs_applies_filters(
    remote_cli: RemoteCli, filters: list[str], sessions: list[str]
) -> None:
    output = remote_cli.run_json("runs", *filters)["runs"]
    assert [run["sessionId"] for run in output] == sessions
    if not sessions:
        assert "Use --since to look further back" in remote_cli.run_ok("runs", *filters)


def test_a_truncated_list_names_the_option_limit(remote_cli: RemoteCli) -> None:
    result = remote_cli.run("runs", "--limit", "2")
    assert result.stderr == "Showing 2 runs; use --limit for more.\n"
    assert remote_cli.run("runs", "--limit", "3").stderr == ""


def test_runs_of_several_pages_are_listed_once_each(large_team_cli: RemoteCli) -> None:
    output = large_team_cli.run_json("runs", "--limit", "5000")
    assert len({run["sessionId"] for run in output["runs"]}) == len(output["runs"]) == ITEMS
    assert output["nextCursor"] is None
    truncated = large_team_cli.run_json("runs", "--limit", str(ITEMS - 1))
    assert (len(truncated["runs"]), truncated["nextCursor"]) == (ITEMS - 1, str(ITEMS - 1))


def test_tasks_of_several_pages_are_listed_once_each(large_team_cli: RemoteCli) -> None:
    output = large_team_cli.run_json("run", "large", "--limit", "5000")
    assert len({task["hash"] for task in output["tasks"]}) == len(output["tasks"]) == ITEMS
    result = large_team_cli.run("run", "large")
    assert result.stderr == "Showing 100 of 1,003 tasks; use --limit for more.\n"


@pytest.mark.parametrize("session", ["cold", "warm", ODD], ids=["cold", "warm", "odd"])
def test_run_as_json_is_the_response_of_the_api(remote_cli: RemoteCli, session: str) -> None:
    assert remote_cli.run_json("run", session) == remote_cli.get_json(
        f"/v1/runs/{quote(session, safe='')}"
    )


def test_run_prints_its_tasks_with_their_artifacts(remote_cli: RemoteCli) -> None:
    first, second, _, *table = remote_cli.run_ok("run", "cold").splitlines()
    assert first.startswith("Run cold, ")
    assert second == "0 of 1 task from cache, 0s saved; hit rate 0.0 %: 0 local, 0 remote, 1 miss"
    assert [cell.strip() for cell in table[2].split("  ") if cell.strip()][:4] == [
        "slow", "miss", "1m30s", "2.5 MB",
    ]  # fmt: skip


def test_a_run_is_shown_as_soon_as_its_events_are_acknowledged(remote_cli: RemoteCli) -> None:
    content = b'[{"sessionId":"just-now","source":"LOCAL","event":"HIT","hash":"h","duration":1}]'
    response = remote_cli.server.request(
        "POST", "/v8/artifacts/events", content=content, token=remote_cli.token
    )
    assert response.status_code == 200
    assert "1 of 1 task from cache" in remote_cli.run_ok("run", "just-now")


@pytest.mark.parametrize("session", ["nobody", "", ".", "..", "/", "../../healthz"])
def test_an_unknown_run_is_reported_in_one_line(remote_cli: RemoteCli, session: str) -> None:
    assert "no run" in remote_cli.run_error("run", session)


@pytest.mark.parametrize("command", [["runs"], ["run", ODD]], ids=["runs", "run"])
def test_control_characters_are_escaped(remote_cli: RemoteCli, command: list[str]) -> None:
    output = remote_cli.run_in_terminal(*command, NO_COLOR="1")
    assert "\\x1b[31m" in output.replace("\n", "")
    assert "\x1b[31m" not in output
    assert "\x1b]" not in output
    assert "\x07" not in output
    piped = remote_cli.run_process(*command).stdout
    assert "\x1b" not in piped
    assert "\\x1b" in piped


@pytest.mark.parametrize(
    "order", ["newest", "oldest", "largest", "smallest", "recent", "idle", "hits"]
)
@pytest.mark.parametrize("unused", [False, True], ids=["all", "unused"])
def test_artifacts_as_json_is_the_response_of_the_api(
    remote_cli: RemoteCli, order: str, unused: bool
) -> None:
    flags = ["--unused"] if unused else []
    query: dict[str, Any] = {"unused": "true"} if unused else {}
    period = {"since": "2026-01-01", "until": "2099-01-01"}
    output = remote_cli.run_json("artifacts", "--order", order, *flags, "--since", "2026-01-01",
                          "--until", "2099-01-01")  # fmt: skip
    assert output == remote_cli.get_json("/v1/artifacts", order=order, limit=20, **query, **period)
    expected = {"idle"} if unused else {"slow"} if order == "hits" else {"slow", "idle"}
    assert {artifact["hash"] for artifact in output["artifacts"]} == expected


def test_artifacts_prints_a_table_with_one_line_per_artifact(remote_cli: RemoteCli) -> None:
    [slow] = [
        line for line in remote_cli.run_ok("artifacts").splitlines() if line.startswith("slow")
    ]
    cells = [cell.strip() for cell in slow.split("  ") if cell.strip()]
    assert cells[:6] == ["slow", "2.5 MB", "1m30s", "0", "1", "1m30s"]


def test_a_team_without_artifacts_gets_a_message(large_team_cli: RemoteCli) -> None:
    assert "No artifacts are stored" in large_team_cli.run_ok("artifacts")
    assert "No unused artifacts" in large_team_cli.run_ok("artifacts", "--unused")


@pytest.mark.parametrize("command", [["runs"], ["run", "warm"], ["artifacts"]], ids=" ".join)
def test_operator_and_token_see_the_same_lists(remote_cli: RemoteCli, command: list[str]) -> None:
    arguments = [*command, "--team", remote_cli.slug]
    assert remote_cli.run_as_operator(*arguments).stdout == remote_cli.run_ok(*arguments)
