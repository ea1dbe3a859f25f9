"""`hitrate report`: the report of one run, its exit codes, and its Markdown."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hitrate.api_schemas import Client, RunInfo, TaskInfo, TimeSaved
from hitrate.cli.output import escape_control
from hitrate.cli.report import code, markdown
from tests.support.cli import error_line
from tests.support.remote_cli import MISS_EVENTS, NO_TURBO, FakeServer, RemoteCli
from tests.support.server import Server

BELOW_THRESHOLD = 3

GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with a run: 2 hits, 3 misses, 2 of them stored."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.upload("quick", 5_000)
    remote_cli.upload("slow", 754_000)
    misses = [
        {**fields, "hash": name} for name in ("quick", "slow", "unsaved") for fields in MISS_EVENTS
    ]
    local_hit = {"hash": "near", "duration": 4_000}
    remote_hit = {"hash": "far", "source": "REMOTE", "duration": 750_000}
    remote_cli.record("build", *misses, local_hit, remote_hit, artifact_client_ci="GITHUB_ACTIONS")
    return remote_cli


def test_text_is_one_line(remote_cli: RemoteCli) -> None:
    line = "this run: 2 of 5 tasks from cache, 12m34s saved\n"
    assert remote_cli.run_ok("report", "--session", "build") == line
    assert remote_cli.run_ok("report", "--last") == line


def test_json_is_the_response_of_the_api(remote_cli: RemoteCli) -> None:
    output = json.loads(remote_cli.run_ok("report", "--last", "--format", "json"))
    assert output == remote_cli.get_json("/v1/runs/build", limit=1000)


def test_markdown_has_the_counts_and_the_slowest_misses(remote_cli: RemoteCli) -> None:
    output = remote_cli.run_ok("report", "--last", "--format", "markdown")
    assert output.splitlines() == [
        "### Remote cache: 2 of 5 tasks from cache, 12m34s saved",
        "",
        "| | tasks | time saved |",
        "|---|---:|---:|",
        "| local hits | 1 | 4.0s |",
        "| remote hits | 1 | 12m30s |",
        "| misses | 3 | |",
        "",
        "Slowest misses:",
        "",
        "| task | duration |",
        "|---|---:|",
        "| `slow` | 12m34s |",
        "| `quick` | 5.0s |",
    ]


def test_last_is_the_newest_run_of_the_token_in_use(shared_server: Server) -> None:
    remote_cli = RemoteCli(shared_server)
    other = remote_cli.new_token()
    remote_cli.record_run("first", hits=1, misses=0)
    remote_cli.record_run("second", hits=2, misses=0)
    remote_cli.record("others", {"hash": "h"}, token=other)
    assert "2 of 2" in remote_cli.run_ok("report", "--last")
    assert "1 of 1" in remote_cli.run("report", "--last", env={"TURBO_TOKEN": other}).stdout
    # For the operator, who has no runs, it is the newest run of the team.
    line = remote_cli.run_as_operator("report", "--last", "--team", remote_cli.slug).stdout
    assert line == "this run: 1 of 1 task from cache, 400ms saved\n"


def test_last_applies_filters(remote_cli: RemoteCli) -> None:
    assert "2 of 5" in remote_cli.run_ok("report", "--last", "--ci", "GITHUB_ACTIONS")
    error = remote_cli.run_error("report", "--last", "--ci", "GITLAB")
    assert "No run of the token in use started since " in error
    assert "use --since to look further back" in error


def test_last_does_not_report_a_run_before_since(remote_cli: RemoteCli) -> None:
    started = datetime.fromisoformat(remote_cli.get_json("/v1/runs/build")["run"]["startedAt"])
    assert "2 of 5" in remote_cli.run_ok("report", "--last", "--since", started.isoformat())
    after = (started + timedelta(milliseconds=1)).isoformat()
    assert "No run" in remote_cli.run_error("report", "--last", "--since", after)


def test_a_run_is_reported_as_soon_as_its_events_are_acknowledged(shared_server: Server) -> None:
    remote_cli = RemoteCli(shared_server)
    for n in range(3):
        content = json.dumps(
            [{"sessionId": f"s{n}", "source": "LOCAL", "event": "HIT", "hash": f"h{m}"}
             for m in range(n + 1)]
        ).encode()  # fmt: skip
        response = shared_server.request(
            "POST", "/v8/artifacts/events", content=content, token=remote_cli.token
        )
        assert response.status_code == 200
        assert f"{n + 1} of {n + 1} task" in remote_cli.run_ok("report", "--last")


@pytest.mark.parametrize("threshold", ["0", "0.4", "0.40", "40%", "39.999999999%", "0%"])
def test_a_hit_rate_at_or_above_the_threshold_succeeds(
    remote_cli: RemoteCli, threshold: str
) -> None:
    result = remote_cli.run("report", "--last", "--fail-under", threshold)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("threshold", ["0.400000001", "40.1%", "1", "100%", "0.5"])
@pytest.mark.parametrize("output_format", ["text", "markdown", "json"])
def test_a_hit_rate_below_the_threshold_is_reported_and_exits_with_3(
    remote_cli: RemoteCli, threshold: str, output_format: str
) -> None:
    result = remote_cli.run(
        "report", "--last", "--format", output_format, "--fail-under", threshold
    )
    assert result.exit_code == BELOW_THRESHOLD
    assert "The hit rate of this run is 40.0 % (2 of 5 tasks), below " in error_line(result)
    assert result.stdout == remote_cli.run_ok("report", "--last", "--format", output_format)


def test_the_threshold_is_compared_exactly(shared_server: Server) -> None:
    remote_cli = RemoteCli(shared_server)
    remote_cli.record_run("thirds", hits=333, misses=667)
    assert remote_cli.run("report", "--last", "--fail-under", "33.3%").exit_code == 0
    assert remote_cli.run("report", "--last", "--fail-under", "33.31%").exit_code == BELOW_THRESHOLD


@pytest.mark.parametrize("threshold", ["40", "1.1", "101%", "-0.1", "half", "", "nan", "1e-1"])
def test_an_invalid_rate_is_rejected(remote_cli: RemoteCli, threshold: str) -> None:
    assert "is not a rate" in remote_cli.run_error(
        "report", "--last", f"--fail-under={threshold}", code=2
    )


@pytest.mark.parametrize(
    "options", [[], ["--last", "--session", "build"], ["--last", "--format", "xml"]], ids=" ".join
)
def test_invalid_options_exit_with_2_even_with_soft(
    remote_cli: RemoteCli, options: list[str]
) -> None:
    assert remote_cli.run_error("report", *options, code=2)
    assert remote_cli.run_error("report", *options, "--soft", code=2)


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (["--last"], {"TURBO_API": "http://127.0.0.1:1"}, "No response from http://127.0.0.1:1"),
        (["--last"], {"TURBO_TOKEN": ""}, "There is no token"),
        (["--last"], {"TURBO_TOKEN": "wrong"}, "unknown, expired or revoked"),
        (["--last"], {"TURBO_TEAM": "unknown-team"}, "no permission"),
        (["--last", "--since", "2999-01-01"], {}, "since is not before until"),
        (["--last", "--agent", "nobody"], {}, "No run"),
        (["--session", "nobody"], {}, "no run with the session"),
        (
            ["--last"],
            {**NO_TURBO, "HITRATE_DATA_DIR": "none", "TURBO_TEAM": "t"},
            "The data directory none does not exist",
        ),
    ],
    ids=[
        "no server",
        "no token",
        "wrong token",
        "wrong team",
        "since in the future",
        "no run",
        "no session",
        "no data directory",
    ],
)
def test_a_missing_report_exits_with_1_or_with_soft_0(
    remote_cli: RemoteCli, options: list[str], changes: dict[str, str | None], message: str
) -> None:
    options = [*options, "--fail-under", "40%"]
    error = remote_cli.run_error("report", *options, code=1, env=changes)
    assert message in error
    soft = remote_cli.run_error("report", *options, "--soft", code=0, env=changes)
    assert without_request_id(soft) == without_request_id(error)


def without_request_id(line: str) -> str:
    return re.sub(r", request [\w-]+\)$", ")", line)


def test_soft_still_compares_the_hit_rate(remote_cli: RemoteCli) -> None:
    result = remote_cli.run("report", "--last", "--soft", "--fail-under", "41%")
    assert result.exit_code == BELOW_THRESHOLD
    assert "2 of 5 tasks" in result.stdout


def test_a_process_exits_with_these_codes(remote_cli: RemoteCli) -> None:
    assert remote_cli.run_process("report", "--last", "--fail-under", "0.4").returncode == 0
    assert (
        remote_cli.run_process("report", "--last", "--fail-under", "0.41").returncode
        == BELOW_THRESHOLD
    )
    failed = remote_cli.run_process("report", "--last", "--api", "http://127.0.0.1:1")
    assert failed.returncode == 1
    assert failed.stderr.startswith("hitrate: No response from http://127.0.0.1:1")


def create_run(tasks: int, misses: int) -> RunInfo:
    """Create a run whose hits are remote hits."""
    hits = tasks - misses
    client = Client(None, None, None, "tok", None, None)
    rate = hits / tasks if tasks else None
    saved = TimeSaved(0, 0)
    return RunInfo(tasks, 0, hits, misses, rate, saved, tasks, 0, 0, "s", "", "", client)


def test_a_run_without_tasks_passes_every_threshold(
    remote_cli: RemoteCli, fake_server: FakeServer
) -> None:
    run = {
        "sessionId": "s", "startedAt": "", "endedAt": "", "tasks": 0, "localHits": 0,
        "remoteHits": 0, "misses": 0, "hitRate": None, "timeSavedMs": {"local": 0, "remote": 0},
        "events": 0, "duplicates": 0, "anomalies": 0,
        "sender": {
            "ci": None, "interactive": None, "agent": None, "tokenId": "t", "tokenLabel": None,
            "user": None,
        },
    }  # fmt: skip
    fake_server.by_path = {"/v1/runs/s": {"run": run, "tasks": [], "nextCursor": None}}
    arguments = ["report", "--session", "s", "--fail-under", "100%"]
    result = remote_cli.run(*arguments, env={"TURBO_API": fake_server.url})
    assert (result.exit_code, result.stdout) == (0, "this run: no tasks\n")


def test_the_slowest_misses_of_all_pages_are_listed(shared_server: Server) -> None:
    remote_cli = RemoteCli(shared_server)
    remote_cli.upload("zzz", 60_000)
    names = [f"{n:016x}" for n in range(1001)]
    remote_cli.record("large", *({"event": "MISS", "hash": name} for name in [*names, "zzz"]))
    assert "zzz" not in {
        task["hash"] for task in remote_cli.get_json("/v1/runs/large")["tasks"][:900]
    }
    assert "| `zzz` | 1m00s |" in remote_cli.run_ok("report", "--last", "--format", "markdown")


def create_miss(name: str, duration_ms: float | None) -> TaskInfo:
    return TaskInfo(name, "miss", duration_ms, 0, None)


def test_markdown_lists_the_ten_slowest_misses() -> None:
    misses = [create_miss(f"h{n}", n * 1000.0) for n in range(30)] + [create_miss("unknown", None)]
    output = re.findall(r"\| `(h\d+)` \|", markdown(create_run(31, 31), misses))
    assert output == [f"h{n}" for n in range(29, 19, -1)]


def test_markdown_of_a_run_without_misses_has_no_table_of_misses() -> None:
    assert "Slowest" not in markdown(create_run(3, 0), [])


def cell_contents(tokens: list[Token], cell_type: str) -> Iterator[list[Token]]:
    """Yield the inline tokens of each table cell."""
    for opening, inline in pairwise(tokens):
        if opening.type == cell_type:
            assert inline.children is not None
            yield inline.children


ODD_HASHES = st.one_of(
    st.text(max_size=100),
    st.text(alphabet="|`\\<>&*_[]()!~#-@:/.hw\n\t \x1b", max_size=100),
    st.sampled_from(
        ["", "|", "\\|", "`", "``|``", "\\", "a|b`c", "<img src=x onerror=alert(1)>", "</code>",
         "<!--", "[a](http://example.com)", "https://example.com", "www.example.com", "@ann", "#1",
         "&lt;", "&#60;", "| --- |", "\n\n# heading", "$x$", ":tada:", "~~gone~~", "*a*", "x" * 200]
    ),
)  # fmt: skip


@given(name=ODD_HASHES)
def test_any_hash_is_plain_text_in_its_table_cell(name: str) -> None:
    output = markdown(create_run(1, 1), [create_miss(name, 1500.0)])
    tokens = GFM.parse(output)
    assert [token.type for token in tokens if token.level == 0 and token.nesting == 1] == [
        "heading_open", "table_open", "paragraph_open", "table_open",
    ]  # fmt: skip
    cells = list(cell_contents(tokens, "td_open"))
    assert len(cells) == 3 * 3 + 2
    hash_cell, duration_cell = cells[-2:]
    assert [token.content for token in duration_cell] == ["1.5s"]
    if [token.type for token in hash_cell] == ["code_inline"]:
        text = hash_cell[0].content
    else:
        opening, *inner, closing = hash_cell
        assert (opening.content, closing.content) == ("<code>", "</code>")
        assert {token.type for token in inner} <= {"text", "text_special"}
        text = "".join(token.content for token in inner)
    expected = escape_control(name if len(name) <= 80 else name[:80] + "…")
    assert text == expected


@pytest.mark.parametrize("name", ["https://a.example", "www.a.example", "@ann", "#1", "a_b", "<i>"])
def test_text_that_renderers_would_link_is_escaped(name: str) -> None:
    assert name not in code(name) or code(name) == f"`{name}`"


def test_markdown_has_no_links(remote_cli: RemoteCli) -> None:
    output = remote_cli.run_ok("report", "--last", "--format", "markdown")
    assert "http" not in output
    assert "](" not in output
