"""The commands of docs/ci.md run as they stand, and print what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hitrate.cli.main import cli
from tests.support.remote_cli import Workshop, set_only
from tests.support.server import Server

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "ci.md").read_text()
BLOCKS = "".join(re.findall(r"(?ms)^```(?:sh|yaml)\n(.*?)^```$", PAGE))
COMMANDS = re.findall(r"(?m)^[ -]*(hitrate .+)$", BLOCKS)


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    """The run of the page."""
    workshop = Workshop(shared_server)
    workshop.record(
        "job",
        *({"hash": f"h{n}", "source": "REMOTE", "duration": 41_888 + (n < 16)} for n in range(18)),
        *({"hash": f"m{n}", "event": "MISS"} for n in range(2)),
        artifact_client_ci="GITHUB_ACTIONS",
    )
    return workshop


def test_the_page_has_the_commands_it_is_about() -> None:
    assert len(COMMANDS) == 8
    assert sum("report" in command for command in COMMANDS) == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(workshop: Workshop, tmp_path: Path, command: str) -> None:
    (tmp_path / "hitrate").write_text(f'#!/bin/sh\nexec {sys.executable} -m hitrate "$@"\n')
    (tmp_path / "hitrate").chmod(0o700)
    summary = tmp_path / "summary.md"
    done = subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=tmp_path,
        env={
            **set_only(workshop.env),
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "STARTED": "2026-01-01T00:00:00Z",
            "CI_JOB_STARTED_AT": "2026-01-01T00:00:00Z",
            "GITHUB_STEP_SUMMARY": str(summary),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "markdown" in command:
        [written] = [path for path in (summary, tmp_path / "cache.md") if path.exists()]
        assert written.read_text().startswith("### Remote cache: 18 of 20 tasks from cache")


def test_the_line_of_the_page_is_what_is_printed(workshop: Workshop) -> None:
    line = PAGE.split("$ hitrate report --last\n")[1].splitlines()[0]
    assert workshop.ok("report", "--last").strip() == line


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))))
def test_each_option_of_the_page_is_there(option: str) -> None:
    ours = ("report", "stats", "runs", "artifacts", "export")
    told = [CliRunner().invoke(cli, [name, "--help"]).output for name in ours]
    others = {"--quiet", "--no-deps", "--wheel-dir", "--force", "--scopes", "--read-only", "--help"}
    assert option in others or any(f"{option} " in text for text in told)
