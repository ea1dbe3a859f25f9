"""The commands of docs/ci.md succeed, and print the output that the page shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import run_cli
from tests.support.remote_cli import RemoteCli, process_env
from tests.support.server import Server

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "ci.md").read_text()
BLOCKS = "".join(re.findall(r"(?ms)^```(?:sh|yaml)\n(.*?)^```$", PAGE))
COMMANDS = re.findall(r"(?m)^[ -]*(hitrate .+)$", BLOCKS)


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with the run that the page shows."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.record(
        "job",
        *({"hash": f"h{n}", "source": "REMOTE", "duration": 41_888 + (n < 16)} for n in range(18)),
        *({"hash": f"m{n}", "event": "MISS"} for n in range(2)),
        artifact_client_ci="GITHUB_ACTIONS",
    )
    return remote_cli


def test_the_page_shows_eight_commands() -> None:
    assert len(COMMANDS) == 8
    assert sum("report" in command for command in COMMANDS) == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_page_succeeds(
    remote_cli: RemoteCli, tmp_path: Path, command: str
) -> None:
    (tmp_path / "hitrate").write_text(f'#!/bin/sh\nexec {sys.executable} -m hitrate "$@"\n')
    (tmp_path / "hitrate").chmod(0o700)
    summary = tmp_path / "summary.md"
    result = subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=tmp_path,
        env={
            **process_env(remote_cli.env),
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
    assert result.returncode == 0, result.stderr
    if "markdown" in command:
        [summary_file] = [path for path in (summary, tmp_path / "cache.md") if path.exists()]
        assert summary_file.read_text().startswith("### Remote cache: 18 of 20 tasks from cache")


def test_report_prints_the_line_of_the_page(remote_cli: RemoteCli) -> None:
    line = PAGE.split("$ hitrate report --last\n")[1].splitlines()[0]
    assert remote_cli.run_ok("report", "--last").strip() == line


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))))
def test_each_option_of_the_page_exists(option: str) -> None:
    commands = ("report", "stats", "runs", "artifacts", "export")
    help_texts = [run_cli(name, "--help").output for name in commands]
    other_options = {
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        "--force",
        "--scopes",
        "--read-only",
        "--help",
    }
    assert option in other_options or any(f"{option} " in text for text in help_texts)
