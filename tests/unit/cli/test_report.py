"""`hitrate report`: what the cache did for one run, for a CI job to show and to judge."""

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
from hitrate.cli.output import plain
from hitrate.cli.report import code, markdown
from tests.support.remote_cli import COLD, NO_TURBO, Fake, Workshop, told
from tests.support.server import Server

UNDER = 3

GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    """Two of five tasks came from the cache; of the three others two were stored."""
    workshop = Workshop(shared_server)
    workshop.store("quick", 5_000)
    workshop.store("slow", 754_000)
    missed = [{**one, "hash": name} for name in ("quick", "slow", "unsaved") for one in COLD]
    near = {"hash": "near", "duration": 4_000}
    far = {"hash": "far", "source": "REMOTE", "duration": 750_000}
    workshop.record("build", *missed, near, far, artifact_client_ci="GITHUB_ACTIONS")
    return workshop


def test_a_run_is_a_line(workshop: Workshop) -> None:
    line = "this run: 2 of 5 tasks from cache, 12m34s saved\n"
    assert workshop.ok("report", "--session", "build") == line
    assert workshop.ok("report", "--last") == line


def test_json_is_the_apis_own(workshop: Workshop) -> None:
    shown = json.loads(workshop.ok("report", "--last", "--format", "json"))
    assert shown == workshop.ask("/v1/runs/build", limit=1000)


def test_markdown_has_the_counts_and_the_slowest_misses(workshop: Workshop) -> None:
    shown = workshop.ok("report", "--last", "--format", "markdown")
    assert shown.splitlines() == [
        "### Remote cache: 2 of 5 tasks from cache, 12m34s saved",
        "",
        "| | tasks | time saved |",
        "|---|---:|---:|",
        "| local hits | 1 | 4.0s |",
        "| remote hits | 1 | 12m30s |",
        "| missed | 3 | |",
        "",
        "The misses that took longest:",
        "",
        "| task | took |",
        "|---|---:|",
        "| `slow` | 12m34s |",
        "| `quick` | 5.0s |",
    ]


def test_the_last_run_is_the_newest_of_the_token_in_use(shared_server: Server) -> None:
    workshop = Workshop(shared_server)
    other = workshop.new_token()
    workshop.record_run("first", hits=1, misses=0)
    workshop.record_run("second", hits=2, misses=0)
    workshop.record("others", {"hash": "h"}, token=other)
    assert "2 of 2" in workshop.ok("report", "--last")
    assert "1 of 1" in workshop.run("report", "--last", env={"TURBO_TOKEN": other}).stdout
    # The operator has no runs: theirs is the newest of the team.
    line = workshop.operator("report", "--last", "--team", workshop.slug).stdout
    assert line == "this run: 1 of 1 task from cache, 400ms saved\n"


def test_the_last_run_may_be_chosen_by_who_ran_it(workshop: Workshop) -> None:
    assert "2 of 5" in workshop.ok("report", "--last", "--ci", "GITHUB_ACTIONS")
    said = workshop.refused("report", "--last", "--ci", "GITLAB")
    assert "No run of the token in use began since " in said
    assert "--since looks further back" in said


def test_a_run_of_another_day_is_not_taken_for_this_one(workshop: Workshop) -> None:
    began = datetime.fromisoformat(workshop.ask("/v1/runs/build")["run"]["startedAt"])
    assert "2 of 5" in workshop.ok("report", "--last", "--since", began.isoformat())
    later = (began + timedelta(milliseconds=1)).isoformat()
    assert "No run" in workshop.refused("report", "--last", "--since", later)


def test_a_run_is_there_as_soon_as_its_events_were_answered(shared_server: Server) -> None:
    workshop = Workshop(shared_server)
    for n in range(3):
        content = json.dumps(
            [{"sessionId": f"s{n}", "source": "LOCAL", "event": "HIT", "hash": f"h{m}"}
             for m in range(n + 1)]
        ).encode()  # fmt: skip
        answer = shared_server.request(
            "POST", "/v8/artifacts/events", content=content, token=workshop.token
        )
        assert answer.status_code == 200
        assert f"{n + 1} of {n + 1} task" in workshop.ok("report", "--last")


@pytest.mark.parametrize("mark", ["0", "0.4", "0.40", "40%", "39.999999999%", "0%"])
def test_at_or_above_the_mark_it_succeeds(workshop: Workshop, mark: str) -> None:
    done = workshop.run("report", "--last", "--fail-under", mark)
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("mark", ["0.400000001", "40.1%", "1", "100%", "0.5"])
@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_under_the_mark_it_reports_and_exits_with_a_code_of_its_own(
    workshop: Workshop, mark: str, form: str
) -> None:
    done = workshop.run("report", "--last", "--format", form, "--fail-under", mark)
    assert done.exit_code == UNDER
    assert "The hit rate of this run is 40.0 % (2 of 5 tasks), under " in told(done)
    assert done.stdout == workshop.ok("report", "--last", "--format", form)


def test_equality_is_exact(shared_server: Server) -> None:
    workshop = Workshop(shared_server)
    workshop.record_run("thirds", hits=333, misses=667)
    assert workshop.run("report", "--last", "--fail-under", "33.3%").exit_code == 0
    assert workshop.run("report", "--last", "--fail-under", "33.31%").exit_code == UNDER


@pytest.mark.parametrize("mark", ["40", "1.1", "101%", "-0.1", "half", "", "nan", "1e-1"])
def test_what_is_no_rate_is_refused(workshop: Workshop, mark: str) -> None:
    assert "no rate" in workshop.refused("report", "--last", f"--fail-under={mark}", code=2)


@pytest.mark.parametrize(
    "options", [[], ["--last", "--session", "build"], ["--last", "--format", "xml"]], ids=" ".join
)
def test_wrong_options_are_told_whether_soft_or_not(workshop: Workshop, options: list[str]) -> None:
    assert workshop.refused("report", *options, code=2)
    assert workshop.refused("report", *options, "--soft", code=2)


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        (["--last"], {"TURBO_API": "http://127.0.0.1:1"}, "No answer from http://127.0.0.1:1"),
        (["--last"], {"TURBO_TOKEN": ""}, "There is no token"),
        (["--last"], {"TURBO_TOKEN": "wrong"}, "unknown, expired or revoked"),
        (["--last"], {"TURBO_TEAM": "nobodys"}, "no permission"),
        (["--last", "--since", "2999-01-01"], {}, "since is not before until"),
        (["--last", "--agent", "nobody"], {}, "No run"),
        (["--session", "nobody"], {}, "no run with the session"),
        (["--last"], {**NO_TURBO, "HITRATE_DATA_DIR": "none", "TURBO_TEAM": "t"}, "no data folder"),
    ],
    ids=["no server", "no token", "wrong token", "wrong team", "no time", "no run", "no session",
         "no folder"],
)  # fmt: skip
def test_without_a_report_it_fails_unless_soft(
    workshop: Workshop, options: list[str], changes: dict[str, str | None], words: str
) -> None:
    options = [*options, "--fail-under", "40%"]
    said = workshop.refused("report", *options, code=1, env=changes)
    assert words in said
    soft = workshop.refused("report", *options, "--soft", code=0, env=changes)
    assert without_request(soft) == without_request(said)


def without_request(line: str) -> str:
    return re.sub(r", request [\w-]+\)$", ")", line)


def test_soft_still_judges_the_run(workshop: Workshop) -> None:
    done = workshop.run("report", "--last", "--soft", "--fail-under", "41%")
    assert done.exit_code == UNDER
    assert "2 of 5 tasks" in done.stdout


def test_a_real_process_ends_with_these_codes(workshop: Workshop) -> None:
    assert workshop.process("report", "--last", "--fail-under", "0.4").returncode == 0
    assert workshop.process("report", "--last", "--fail-under", "0.41").returncode == UNDER
    failed = workshop.process("report", "--last", "--api", "http://127.0.0.1:1")
    assert failed.returncode == 1
    assert failed.stderr.startswith("hitrate: No answer from http://127.0.0.1:1")


def run_of(tasks: int, misses: int) -> RunInfo:
    """Its hits are remote ones."""
    hits = tasks - misses
    client = Client(None, None, None, "tok", None, None)
    rate = hits / tasks if tasks else None
    saved = TimeSaved(0, 0)
    return RunInfo(tasks, 0, hits, misses, rate, saved, tasks, 0, 0, "s", "", "", client)


def test_a_run_without_tasks_does_not_fail(workshop: Workshop, fake: Fake) -> None:
    run = {
        "sessionId": "s", "startedAt": "", "endedAt": "", "tasks": 0, "localHits": 0,
        "remoteHits": 0, "misses": 0, "hitRate": None, "timeSavedMs": {"local": 0, "remote": 0},
        "events": 0, "duplicates": 0, "anomalies": 0,
        "sender": {
            "ci": None, "interactive": None, "agent": None, "tokenId": "t", "tokenLabel": None,
            "user": None,
        },
    }  # fmt: skip
    fake.by_path = {"/v1/runs/s": {"run": run, "tasks": [], "nextCursor": None}}
    arguments = ["report", "--session", "s", "--fail-under", "100%"]
    done = workshop.run(*arguments, env={"TURBO_API": fake.url})
    assert (done.exit_code, done.stdout) == (0, "this run: no tasks\n")


def test_the_slowest_misses_are_found_behind_a_page_of_them(shared_server: Server) -> None:
    workshop = Workshop(shared_server)
    workshop.store("zzz", 60_000)
    names = [f"{n:016x}" for n in range(1001)]
    workshop.record("large", *({"event": "MISS", "hash": name} for name in [*names, "zzz"]))
    assert "zzz" not in {task["hash"] for task in workshop.ask("/v1/runs/large")["tasks"][:900]}
    assert "| `zzz` | 1m00s |" in workshop.ok("report", "--last", "--format", "markdown")


def task(name: str, duration_ms: float | None) -> TaskInfo:
    return TaskInfo(name, "miss", duration_ms, 0, None)


def test_of_many_misses_ten_are_shown_the_slowest_first() -> None:
    misses = [task(f"h{n}", n * 1000.0) for n in range(30)] + [task("unknown", None)]
    shown = re.findall(r"\| `(h\d+)` \|", markdown(run_of(31, 31), misses))
    assert shown == [f"h{n}" for n in range(29, 19, -1)]


def test_a_run_without_misses_has_no_table_of_them() -> None:
    assert "longest" not in markdown(run_of(3, 0), [])


def texts(tokens: list[Token], wanted: str) -> Iterator[list[Token]]:
    """What stands in each cell of a table."""
    for opened, inline in pairwise(tokens):
        if opened.type == wanted:
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
def test_a_hash_stays_in_its_cell_and_is_nothing_but_text(name: str) -> None:
    shown = markdown(run_of(1, 1), [task(name, 1500.0)])
    tokens = GFM.parse(shown)
    assert [token.type for token in tokens if token.level == 0 and token.nesting == 1] == [
        "heading_open", "table_open", "paragraph_open", "table_open",
    ]  # fmt: skip
    cells = list(texts(tokens, "td_open"))
    assert len(cells) == 3 * 3 + 2
    told_name, took = cells[-2:]
    assert [one.content for one in took] == ["1.5s"]
    kinds = [one.type for one in told_name]
    if kinds == ["code_inline"]:
        text = told_name[0].content
    else:
        opened, *inside, closed = told_name
        assert (opened.content, closed.content) == ("<code>", "</code>")
        assert {one.type for one in inside} <= {"text", "text_special"}
        text = "".join(one.content for one in inside)
    wanted = plain(name if len(name) <= 80 else name[:80] + "…")
    assert text == wanted


@pytest.mark.parametrize("name", ["https://a.example", "www.a.example", "@ann", "#1", "a_b", "<i>"])
def test_nothing_a_page_would_make_a_link_of_stands_in_the_source(name: str) -> None:
    assert name not in code(name) or code(name) == f"`{name}`"


def test_the_page_has_no_links(workshop: Workshop) -> None:
    shown = workshop.ok("report", "--last", "--format", "markdown")
    assert "http" not in shown
    assert "](" not in shown
