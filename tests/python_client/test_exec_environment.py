"""`hitrate exec` with unusual inherited signals, files and directories."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server

Exec = Callable[..., "subprocess.CompletedProcess[str]"]

# Shell scripts that prepare the process; their arguments are the command line of hitrate.
PLAIN = 'exec "$@"'
IGNORED_SIGCHLD = """exec "$0" -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$@" """


@pytest.fixture
def execute(tmp_path: Path, unique: str, shared_server: Server) -> Exec:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TURBO_")}
    turbo = {"TURBO_API": shared_server.url, "TURBO_TOKEN": shared_server.token}

    def execute(
        *arguments: str, script: str = PLAIN, directory: Path = tmp_path
    ) -> "subprocess.CompletedProcess[str]":
        hitrate = [sys.executable, "-m", "hitrate", "exec", "--key", unique, "--inputs", "src"]
        return subprocess.run(
            ["sh", "-c", script, sys.executable, *hitrate, *arguments],
            cwd=directory,
            env={**inherited, **turbo},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return execute


def test_exit_code_is_reported_if_sigchld_is_ignored(execute: Exec) -> None:
    failed = execute("--", "sh", "-c", "exit 3", script=IGNORED_SIGCHLD)
    assert failed.returncode == 3
    assert "stored" not in failed.stderr


@pytest.mark.parametrize(
    "script",
    [PLAIN, "trap '' HUP INT; exec \"$@\""],
    ids=["no ignored signals", "two ignored signals"],
)
def test_command_inherits_the_same_ignored_signals_as_without_hitrate(
    execute: Exec, script: str
) -> None:
    with_hitrate = execute("--", "grep", "SigIgn", "/proc/self/status", script=script)
    without = subprocess.run(
        ["sh", "-c", script, "sh", "grep", "SigIgn", "/proc/self/status"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert with_hitrate.stdout == without.stdout


@pytest.mark.parametrize("target", ["/dev/full", "&-"])
@pytest.mark.parametrize("code", [0, 3])
def test_unwritable_stderr_does_not_change_the_exit_code(
    execute: Exec, target: str, code: int
) -> None:
    result = execute("--", "sh", "-c", f"exit {code}", script=f'exec "$@" 2>{target}')
    assert result.returncode == code


def test_command_reads_standard_input(execute: Exec) -> None:
    result = execute("--", "cat", script='echo input | "$@"')
    assert result.stdout == "input\n"


def test_nested_run_in_a_directory_with_separators_does_not_deadlock(
    execute: Exec, tmp_path: Path
) -> None:
    directory = tmp_path / "a:b,c d"
    (directory / "src").mkdir(parents=True)
    (directory / "src" / "a").write_text("a")
    inner = [sys.executable, "-m", "hitrate", "exec", "--inputs", "src", "--outputs", "out"]
    command = [*inner, "--", "sh", "-c", "echo built > out"]
    result = execute("--outputs", "out", "--", *command, directory=directory)
    assert (result.returncode, (directory / "out").read_text()) == (0, "built\n")
    assert "part of another run for the same outputs" in result.stderr


def test_task_without_outputs_creates_no_files(execute: Exec, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert execute("--", "true").returncode == 0
    assert "restored" in execute("--", "true").stderr
    assert sorted(tmp_path.rglob("*")) == before
