"""`hitrate exec` behaves like the command that it runs, whether or not the cache works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import sample_project
from tests.support.sample_project import leftover_files, snapshot
from tests.support.server import Server, eventually, free_port
from tests.support.strict_fake import Disconnect, Stall, StrictFake, Truncate

# Other variables depend on where the tests run: CI, coding agents, servers, proxies.
INHERITED_VARIABLES = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")
TIMEOUT_S = 30.0
WAIT_FOR_GO = "echo $$ > pid; while [ ! -e go ]; do sleep 0.02; done; echo >> runs; mkdir -p dist; "


@dataclass
class ExecRunner:
    """Runs `hitrate exec` in `directory`, with its own session and key."""

    directory: Path
    key: str
    turbo: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, directory: Path | None = None, **env: str) -> Any:
        """Start a run. Its standard error is a file, which can be read while it runs."""
        directory = directory or self.directory
        stderr_path = directory / f"stderr{len(self.processes)}"
        with stderr_path.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "hitrate", "exec", "--key", self.key, *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
                | {"HITRATE_SESSION": self.key, **self.turbo, **env},
            )
        self.processes.append(process)
        return process

    def run(self, *arguments: str, **options: Any) -> Result:
        """Run and wait for the result."""
        return self.wait(self.start(*arguments, **options))

    def run_script(self, script: str, *options: str, **more: Any) -> Result:
        """Run a shell script with the input `src` and the output `dist`."""
        return self.run(*self.script_arguments(script, *options), **more)

    def script_arguments(self, script: str, *options: str) -> list[str]:
        """Return the arguments of `run_script`."""
        return ["--inputs", "src", "--outputs", "dist", *options, "--", "sh", "-c", script]

    def wait(self, process: Any, timeout: float = TIMEOUT_S) -> Result:
        """Wait for a run that was started."""
        out, _ = process.communicate(timeout=timeout)
        return Result(process.returncode, out, self.stderr(process))

    def stderr(self, process: Any) -> str:
        """Return the standard error of a run so far."""
        number = self.processes.index(process)
        [path] = self.directory.parent.glob(f"*/stderr{number}")
        return path.read_text()


@dataclass(frozen=True)
class Result:
    """Result of a run."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def cli(tmp_path: Path, unique: str, shared_server: Server) -> Iterator[ExecRunner]:
    yield from exec_runner(tmp_path, unique, turbo_variables(shared_server))


@pytest.fixture
def fake_cli(tmp_path: Path, unique: str, fake: StrictFake) -> Iterator[ExecRunner]:
    turbo = {"TURBO_API": fake.url, "TURBO_TOKEN": fake.token, "TURBO_TEAM": fake.slug}
    yield from exec_runner(tmp_path, unique, turbo)


def exec_runner(tmp_path: Path, key: str, turbo: dict[str, str]) -> Iterator[ExecRunner]:
    cli = ExecRunner(tmp_path / "here", key, turbo)
    (cli.directory / "src").mkdir(parents=True)
    (cli.directory / "src" / "a").write_text("a")
    yield cli
    for process in cli.processes:
        # The whole process group, because a command may outlive its run.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def turbo_variables(server: Server) -> dict[str, str]:
    return {"TURBO_API": server.url, "TURBO_TOKEN": server.token, "TURBO_TEAM": server.team}


def recorded_events(server: Server, cli: ExecRunner, count: int) -> list[dict[str, Any]]:
    """Return the events of all runs, oldest first, when there are `count`."""
    eventually(lambda: len(server.events(sessionId=cli.key)) >= count)
    return server.events(sessionId=cli.key)[::-1]


@pytest.mark.parametrize("kind", sample_project.AVAILABLE_KINDS)
def test_build_runs_once_and_is_restored_in_every_checkout(
    cli: ExecRunner, shared_server: Server, tmp_path: Path, kind: str
) -> None:
    here = sample_project.create(tmp_path / "project", kind)
    assert cli.run(*here.exec_arguments(), directory=here.directory).code == 0
    outputs, steps = snapshot(here.directory / "dist"), here.build_steps()
    assert {"app", "obj"} < outputs.keys()
    subprocess.check_call(["rm", "-rf", "dist"], cwd=here.directory)
    there = here.copy_to(tmp_path / "elsewhere")

    hits = [cli.run(*one.exec_arguments(), directory=one.directory) for one in (here, there)]

    assert [hit.code for hit in hits] == [0, 0]
    assert all("restored from the cache" in hit.err for hit in hits)
    assert snapshot(here.directory / "dist") == snapshot(there.directory / "dist") == outputs
    assert (here.build_steps(), there.build_steps()) == (steps, [])
    assert there.program_output() == "hello"
    assert here.is_up_to_date()
    assert there.is_up_to_date()
    miss, *restored = recorded_events(shared_server, cli, 3)
    [stored] = (
        shared_server.request("POST", "/v8/artifacts", json={"hashes": [miss["hash"]]})
        .json()
        .values()
    )
    assert (miss["source"], miss["event"]) == ("REMOTE", "MISS")
    assert [(e["source"], e["event"], e["hash"], e["duration"]) for e in restored] == [
        ("REMOTE", "HIT", miss["hash"], stored["taskDurationMs"])
    ] * 2
    assert stored["taskDurationMs"] > 1


def test_different_command_key_or_variable_is_a_different_task(cli: ExecRunner) -> None:
    script = "mkdir -p dist; echo $X $0 > dist/a"
    runs = {
        "first": cli.run_script(script, "--env", "X", X="1"),
        "other value": cli.run_script(script, "--env", "X", X="2"),
        "no value": cli.run_script(script, "--env", "X"),
        "other key": cli.run_script(script, "--env", "X", "--key", "other" + cli.key, X="1"),
        "other command": cli.run_script(script + " ", "--env", "X", X="1"),
        "first again": cli.run_script(script, "--env", "X", X="1"),
    }

    assert [name for name, run in runs.items() if "restored" in run.err] == ["first again"]
    assert read(cli.directory / "dist/a") == "1 sh"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "mkdir dist; exit 3"], 3),
        (["sh", "-c", "mkdir dist; kill -TERM $$"], 128 + signal.SIGTERM),
        (["sh", "-c", "mkdir dist; kill -KILL $$"], 128 + signal.SIGKILL),
        (["no-such-command"], 127),
        (["./src"], 126),
        (["./src/a"], 126),
    ],
    ids=str,
)
def test_failed_command_exits_like_in_a_shell_and_is_never_stored(
    cli: ExecRunner, shared_server: Server, command: list[str], code: int
) -> None:
    result = cli.run("--inputs", "src", "--outputs", "dist", "--", *command)

    assert result.code == code, result.err
    assert "Traceback" not in result.err
    [miss] = recorded_events(shared_server, cli, 1)
    assert shared_server.request("HEAD", f"/v8/artifacts/{miss['hash']}").status_code == 404


def test_output_of_a_command_is_passed_through_unchanged(cli: ExecRunner) -> None:
    script = r"mkdir dist; printf 'a\r\n\377\000 b'; echo message >&2"

    assert cli.run_script(script).out == b"a\r\n\xff\x00 b"
    restored = cli.run_script(script, "--quiet")

    assert (restored.code, restored.out, restored.err) == (0, b"", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--inputs", "../x", "--", "touch", "ran"],
        ["--inputs", "/etc", "--", "touch", "ran"],
        ["--inputs", "src", "--outputs", ".", "--", "touch", "ran"],
        ["--inputs", "src", "--outputs", "", "--", "touch", "ran"],
        ["--inputs", "src", "--outputs", "a/../..", "--", "touch", "ran"],
        ["--inputs", "src", "--outputs", "{..,dist}/x", "--", "touch", "ran"],
        ["--inputs", "src", "--env", "A=b", "--", "touch", "ran"],
        ["--inputs", "src", "--env", "", "--", "touch", "ran"],
        ["--inputs", "src", "--root", "nowhere", "--", "touch", "ran"],
        ["--outputs", "dist", "--", "touch", "ran"],
        ["--inputs", "src", "--"],
    ],
    ids=" ".join,
)
def test_usage_error_prints_one_sentence_and_runs_nothing(
    cli: ExecRunner, arguments: list[str]
) -> None:
    result = cli.run(*arguments)

    assert result.code == 2
    assert re.search(r"^Error: .+\.$", result.err, re.MULTILINE), result.err
    assert "Traceback" not in result.err
    assert not (cli.directory / "ran").exists()


def test_command_runs_with_a_message_if_every_input_is_an_output(cli: ExecRunner) -> None:
    result = cli.run("--inputs", "**", "--outputs", "**", "--", "sh", "-c", "echo built > src/a")

    assert (result.code, (cli.directory / "src/a").read_text()) == (0, "built\n")
    assert "everything that '**' matches is an output" in result.err


@pytest.mark.parametrize(
    ("turbo", "message"),
    [
        ({"TURBO_API": ""}, "No server is configured"),
        ({"TURBO_TOKEN": ""}, "No token is configured"),
        ({"TURBO_TOKEN": "wrong"}, "unauthorized"),
        ({"TURBO_TOKEN": "read-only"}, "not stored"),
        ({"TURBO_API": "http://127.0.0.1:{free_port}"}, "Connection refused"),
    ],
    ids=str,
)
def test_command_runs_and_reports_why_the_cache_is_unusable(
    cli: ExecRunner, shared_server: Server, turbo: dict[str, str], message: str
) -> None:
    if turbo.get("TURBO_TOKEN") == "read-only":
        turbo = {"TURBO_TOKEN": shared_server.create_token("--read-only")}
    env = {name: value.format(free_port=free_port()) for name, value in turbo.items()}

    result = cli.run_script("mkdir dist; echo built", "--quiet", **env)

    assert (result.code, result.out) == (0, b"built\n")
    assert message in result.err
    assert not leftover_files(cli.directory) if (cli.directory / ".hitrate").exists() else True


def test_command_succeeds_if_the_server_is_killed_meanwhile(
    cli: ExecRunner, server: Server
) -> None:
    assert server.process
    script = f"kill -KILL {server.process.pid}; mkdir dist; exit 0"

    result = cli.run_script(script, **turbo_variables(server))

    assert result.code == 0
    assert "not stored" in result.err


@pytest.mark.parametrize("step", [Disconnect(), Truncate(40)], ids=str)
def test_command_runs_if_the_lookup_is_interrupted(
    fake_cli: ExecRunner, fake: StrictFake, step: Disconnect | Truncate
) -> None:
    assert "stored" in fake_cli.run_script("mkdir -p dist; echo >> runs").err
    fake.script(*[step] * 2)

    result = fake_cli.run_script("mkdir -p dist; echo >> runs")

    assert result.code == 0
    assert "not restored" in result.err
    assert (fake_cli.directory / "runs").read_text() == "\n\n"
    assert "restored from the cache" in fake_cli.run_script("mkdir -p dist; echo >> runs").err


def test_ten_concurrent_runs_in_one_directory_run_the_command_once(cli: ExecRunner) -> None:
    arguments = cli.script_arguments(WAIT_FOR_GO + "echo built > dist/a")
    runs = [cli.start(*arguments) for _ in range(10)]
    eventually(lambda: sum("waiting" in cli.stderr(run) for run in runs) == 9)
    (cli.directory / "go").touch()

    results = [cli.wait(run) for run in runs]

    assert [result.code for result in results] == [0] * 10
    assert (cli.directory / "runs").read_text() == "\n"
    assert snapshot(cli.directory / "dist") == {"a": ("file", b"built\n")}
    assert leftover_files(cli.directory) == set()


def test_concurrent_runs_in_two_checkouts_are_independent(cli: ExecRunner, tmp_path: Path) -> None:
    projects = [sample_project.create(tmp_path / name) for name in ("one", "two")]
    runs = [cli.start(*one.exec_arguments(), directory=one.directory) for one in projects]

    assert [cli.wait(run).code for run in runs] == [0, 0]
    assert [one.program_output() for one in projects] == ["hello", "hello"]


def test_next_run_succeeds_after_a_kill_during_the_command(cli: ExecRunner) -> None:
    arguments = cli.script_arguments(WAIT_FOR_GO + "echo built > dist/a")
    killed = cli.start(*arguments)
    eventually(lambda: read(cli.directory / "pid"))
    killed.kill()
    killed.wait()
    (cli.directory / "go").touch()
    eventually(lambda: read(cli.directory / "dist/a"))

    assert "stored" in cli.run(*arguments).err
    assert "restored" in cli.run(*arguments).err
    assert leftover_files(cli.directory) == set()


def test_next_run_succeeds_after_a_kill_during_the_restore(
    fake_cli: ExecRunner, fake: StrictFake
) -> None:
    fake_cli.run_script("mkdir -p dist; echo built > dist/a")
    fake.script(Stall())
    requests_before = len(fake.requests)
    killed = fake_cli.start(*fake_cli.script_arguments("mkdir -p dist; echo built > dist/a"))
    eventually(lambda: len(fake.requests) > requests_before)
    killed.kill()
    killed.wait()

    assert "restored" in fake_cli.run_script("mkdir -p dist; echo built > dist/a").err
    assert snapshot(fake_cli.directory / "dist") == {"a": ("file", b"built\n")}
    assert leftover_files(fake_cli.directory) == set()


@pytest.mark.parametrize("code", [5, 0])
def test_sigterm_is_forwarded_to_the_command_which_is_not_stored(
    cli: ExecRunner, code: int
) -> None:
    trap = f"trap 'echo terminated > dist/a; exit {code}' TERM; mkdir -p dist; "
    run = cli.start(*cli.script_arguments(trap + WAIT_FOR_GO))
    eventually(lambda: read(cli.directory / "pid"))
    run.send_signal(signal.SIGTERM)

    result = cli.wait(run)

    assert (result.code, (cli.directory / "dist/a").read_text()) == (code, "terminated\n")
    assert "stored" not in result.err.replace("not stored", "")


def test_nested_run_for_the_same_outputs_does_not_deadlock(cli: ExecRunner) -> None:
    script = cli.script_arguments("mkdir dist; echo > dist/a")
    inner = [sys.executable, "-m", "hitrate", "exec", *script]
    outer = cli.start("--inputs", "src", "--outputs", "dist", "--", *inner)

    assert cli.wait(outer, timeout=5).code == 0


def read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
