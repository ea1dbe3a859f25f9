"""`hitrate exec` under odd surroundings: what it inherits must not change what the command does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server

Exec = Callable[..., "subprocess.CompletedProcess[str]"]

# The shell sets the scene, and the last words are the command line of hitrate.
PLAIN = 'exec "$@"'
NO_CHILD_SIGNALS = """exec "$0" -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$@" """


@pytest.fixture
def execute(tmp_path: Path, unique: str, shared_server: Server) -> Exec:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TURBO_")}
    turbo = {"TURBO_API": shared_server.url, "TURBO_TOKEN": shared_server.token}

    def execute(
        *words: str, scene: str = PLAIN, folder: Path = tmp_path
    ) -> "subprocess.CompletedProcess[str]":
        hitrate = [sys.executable, "-m", "hitrate", "exec", "--key", unique, "--inputs", "src"]
        return subprocess.run(
            ["sh", "-c", scene, sys.executable, *hitrate, *words],
            cwd=folder,
            env={**kept, **turbo},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return execute


def test_an_ignored_sigchld_hides_no_exit_code(execute: Exec) -> None:
    failed = execute("--", "sh", "-c", "exit 3", scene=NO_CHILD_SIGNALS)
    assert failed.returncode == 3
    assert "stored" not in failed.stderr


@pytest.mark.parametrize("scene", [PLAIN, "trap '' HUP INT; exec \"$@\""], ids=["none", "two"])
def test_the_command_ignores_the_signals_that_it_would_ignore_without_us(
    execute: Exec, scene: str
) -> None:
    shown = execute("--", "grep", "SigIgn", "/proc/self/status", scene=scene)
    without = subprocess.run(
        ["sh", "-c", scene, "sh", "grep", "SigIgn", "/proc/self/status"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == without.stdout


@pytest.mark.parametrize("target", ["/dev/full", "&-"])
@pytest.mark.parametrize("code", [0, 3])
def test_what_cannot_be_told_changes_no_exit_code(execute: Exec, target: str, code: int) -> None:
    done = execute("--", "sh", "-c", f"exit {code}", scene=f'exec "$@" 2>{target}')
    assert done.returncode == code


def test_standard_input_reaches_the_command(execute: Exec) -> None:
    done = execute("--", "cat", scene='echo input | "$@"')
    assert done.stdout == "input\n"


def test_a_run_within_a_run_for_the_same_outputs_does_not_wait_for_it(
    execute: Exec, tmp_path: Path
) -> None:
    folder = tmp_path / "a:b,c d"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a").write_text("a")
    inner = [sys.executable, "-m", "hitrate", "exec", "--inputs", "src", "--outputs", "out"]
    command = [*inner, "--", "sh", "-c", "echo made > out"]
    done = execute("--outputs", "out", "--", *command, folder=folder)
    assert (done.returncode, (folder / "out").read_text()) == (0, "made\n")
    assert "part of another run for the same outputs" in done.stderr


def test_tasks_without_outputs_leave_nothing_behind(execute: Exec, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert execute("--", "true").returncode == 0
    assert "restored" in execute("--", "true").stderr
    assert sorted(tmp_path.rglob("*")) == before
