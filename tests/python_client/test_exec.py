"""Holds `hitrate exec` to being the command that it runs, only faster, whatever the cache does."""

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
from tests.support.sample_project import leftovers, snapshot
from tests.support.server import Server, eventually, free_port
from tests.support.strict_fake import HangUp, Stall, StrictFake, Truncate

# All else would say where the tests run: CI, coding agents, other servers, proxies.
KEPT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")
TIMEOUT_S = 30.0
GATED = "echo $$ > pid; while [ ! -e go ]; do sleep 0.02; done; echo >> runs; mkdir -p dist; "


@dataclass
class Cli:
    """`hitrate exec` in `folder`, with a session and a key that nothing else has."""

    folder: Path
    key: str
    turbo: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, folder: Path | None = None, **env: str) -> Any:
        """A run; its standard error goes to a file, so that it can be read meanwhile."""
        folder = folder or self.folder
        told = folder / f"stderr{len(self.started)}"
        with told.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "hitrate", "exec", "--key", self.key, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,
                env={name: os.environ[name] for name in KEPT if name in os.environ}
                | {"HITRATE_SESSION": self.key, **self.turbo, **env},
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str, **options: Any) -> Done:
        process = self.start(*arguments, **options)
        return self.done(process)

    def shell(self, script: str, *options: str, **more: Any) -> Done:
        """A run of a script whose input is src, and whose output dist."""
        return self.run(*self.shelled(script, *options), **more)

    def shelled(self, script: str, *options: str) -> list[str]:
        return ["--inputs", "src", "--outputs", "dist", *options, "--", "sh", "-c", script]

    def done(self, process: Any, timeout: float = TIMEOUT_S) -> Done:
        out, _ = process.communicate(timeout=timeout)
        return Done(process.returncode, out, self.told(process))

    def told(self, process: Any) -> str:
        number = self.started.index(process)
        [path] = self.folder.parent.glob(f"*/stderr{number}")
        return path.read_text()


@dataclass(frozen=True)
class Done:
    """What a run ended with."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def cli(tmp_path: Path, unique: str, shared_server: Server) -> Iterator[Cli]:
    yield from clis(tmp_path, unique, turbo_of(shared_server))


@pytest.fixture
def faked(tmp_path: Path, unique: str, fake: StrictFake) -> Iterator[Cli]:
    turbo = {"TURBO_API": fake.url, "TURBO_TOKEN": fake.token, "TURBO_TEAM": fake.slug}
    yield from clis(tmp_path, unique, turbo)


def clis(tmp_path: Path, key: str, turbo: dict[str, str]) -> Iterator[Cli]:
    cli = Cli(tmp_path / "here", key, turbo)
    (cli.folder / "src").mkdir(parents=True)
    (cli.folder / "src" / "a").write_text("a")
    yield cli
    for process in cli.started:
        # Its whole group: a command may outlive the run that started it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def turbo_of(server: Server) -> dict[str, str]:
    return {"TURBO_API": server.url, "TURBO_TOKEN": server.token, "TURBO_TEAM": server.team}


def recorded(server: Server, cli: Cli, count: int) -> list[dict[str, Any]]:
    """The events of all runs, oldest first."""
    eventually(lambda: len(server.events(sessionId=cli.key)) >= count)
    return server.events(sessionId=cli.key)[::-1]


@pytest.mark.parametrize("kind", sample_project.KINDS)
def test_a_build_is_made_once_and_restored_everywhere(
    cli: Cli, shared_server: Server, tmp_path: Path, kind: str
) -> None:
    here = sample_project.write(tmp_path / "project", kind)
    assert cli.run(*here.options(), folder=here.folder).code == 0
    made, steps = snapshot(here.folder / "dist"), here.steps()
    assert {"app", "obj"} < made.keys()
    subprocess.check_call(["rm", "-rf", "dist"], cwd=here.folder)
    there = here.copy_to(tmp_path / "elsewhere")

    hits = [cli.run(*one.options(), folder=one.folder) for one in (here, there)]

    assert [hit.code for hit in hits] == [0, 0]
    assert all("restored from the cache" in hit.err for hit in hits)
    assert snapshot(here.folder / "dist") == snapshot(there.folder / "dist") == made
    assert (here.steps(), there.steps()) == (steps, [])
    assert there.says() == "hello"
    assert here.is_up_to_date()
    assert there.is_up_to_date()
    miss, *restored = recorded(shared_server, cli, 3)
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


def test_another_command_key_or_value_is_another_task(cli: Cli) -> None:
    script = "mkdir -p dist; echo $X $0 > dist/a"
    runs = {
        "first": cli.shell(script, "--env", "X", X="1"),
        "other value": cli.shell(script, "--env", "X", X="2"),
        "no value": cli.shell(script, "--env", "X"),
        "other key": cli.shell(script, "--env", "X", "--key", "other" + cli.key, X="1"),
        "other command": cli.shell(script + " ", "--env", "X", X="1"),
        "first again": cli.shell(script, "--env", "X", X="1"),
    }

    assert [name for name, run in runs.items() if "restored" in run.err] == ["first again"]
    assert read(cli.folder / "dist/a") == "1 sh"


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
def test_what_fails_ends_as_a_shell_would_end_it_and_is_never_stored(
    cli: Cli, shared_server: Server, command: list[str], code: int
) -> None:
    done = cli.run("--inputs", "src", "--outputs", "dist", "--", *command)

    assert done.code == code, done.err
    assert "Traceback" not in done.err
    [miss] = recorded(shared_server, cli, 1)
    assert shared_server.request("HEAD", f"/v8/artifacts/{miss['hash']}").status_code == 404


def test_what_a_command_prints_passes_unchanged(cli: Cli) -> None:
    script = r"mkdir dist; printf 'a\r\n\377\000 b'; echo said >&2"

    assert cli.shell(script).out == b"a\r\n\xff\x00 b"
    restored = cli.shell(script, "--quiet")

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
def test_a_usage_error_is_told_in_a_sentence_and_nothing_runs(
    cli: Cli, arguments: list[str]
) -> None:
    done = cli.run(*arguments)

    assert done.code == 2
    assert re.search(r"^Error: .+\.$", done.err, re.MULTILINE), done.err
    assert "Traceback" not in done.err
    assert not (cli.folder / "ran").exists()


def test_where_every_input_is_an_output_the_command_runs_and_that_is_told(cli: Cli) -> None:
    done = cli.run("--inputs", "**", "--outputs", "**", "--", "sh", "-c", "echo made > src/a")

    assert (done.code, (cli.folder / "src/a").read_text()) == (0, "made\n")
    assert "are outputs, too" in done.err


@pytest.mark.parametrize(
    ("turbo", "told"),
    [
        ({"TURBO_API": ""}, "No server is named"),
        ({"TURBO_TOKEN": ""}, "There is no token"),
        ({"TURBO_TOKEN": "wrong"}, "unauthorized"),
        ({"TURBO_TOKEN": "read-only"}, "not stored"),
        ({"TURBO_API": "http://127.0.0.1:{free_port}"}, "Connection refused"),
    ],
    ids=str,
)
def test_without_a_usable_cache_the_command_runs_and_the_reason_is_told(
    cli: Cli, shared_server: Server, turbo: dict[str, str], told: str
) -> None:
    if turbo.get("TURBO_TOKEN") == "read-only":
        turbo = {"TURBO_TOKEN": shared_server.create_token("--read-only")}
    given = {name: value.format(free_port=free_port()) for name, value in turbo.items()}

    done = cli.shell("mkdir dist; echo made", "--quiet", **given)

    assert (done.code, done.out) == (0, b"made\n")
    assert told in done.err
    assert not leftovers(cli.folder) if (cli.folder / ".hitrate").exists() else True


def test_a_server_that_is_killed_while_the_command_runs_changes_nothing(
    cli: Cli, server: Server
) -> None:
    assert server.process
    script = f"kill -KILL {server.process.pid}; mkdir dist; exit 0"

    done = cli.shell(script, **turbo_of(server))

    assert done.code == 0
    assert "not stored" in done.err


@pytest.mark.parametrize("step", [HangUp(), Truncate(40)], ids=str)
def test_a_server_that_breaks_off_the_lookup_changes_nothing(
    faked: Cli, fake: StrictFake, step: HangUp | Truncate
) -> None:
    assert "stored" in faked.shell("mkdir -p dist; echo >> runs").err
    fake.script(*[step] * 2)

    done = faked.shell("mkdir -p dist; echo >> runs")

    assert done.code == 0
    assert "not restored" in done.err
    assert (faked.folder / "runs").read_text() == "\n\n"
    assert "restored from the cache" in faked.shell("mkdir -p dist; echo >> runs").err


def test_of_ten_runs_at_once_in_one_folder_one_works_and_the_others_wait(cli: Cli) -> None:
    arguments = cli.shelled(GATED + "echo made > dist/a")
    runs = [cli.start(*arguments) for _ in range(10)]
    eventually(lambda: sum("waiting" in cli.told(run) for run in runs) == 9)
    (cli.folder / "go").touch()

    done = [cli.done(run) for run in runs]

    assert [one.code for one in done] == [0] * 10
    assert (cli.folder / "runs").read_text() == "\n"
    assert snapshot(cli.folder / "dist") == {"a": ("file", b"made\n")}
    assert leftovers(cli.folder) == set()


def test_runs_at_once_in_two_checkouts_do_not_disturb_each_other(cli: Cli, tmp_path: Path) -> None:
    folders = [sample_project.write(tmp_path / name) for name in ("one", "two")]
    runs = [cli.start(*one.options(), folder=one.folder) for one in folders]

    assert [cli.done(run).code for run in runs] == [0, 0]
    assert [one.says() for one in folders] == ["hello", "hello"]


def test_a_run_killed_during_its_command_leaves_the_next_one_intact(cli: Cli) -> None:
    arguments = cli.shelled(GATED + "echo made > dist/a")
    killed = cli.start(*arguments)
    eventually(lambda: read(cli.folder / "pid"))
    killed.kill()
    killed.wait()
    (cli.folder / "go").touch()
    eventually(lambda: read(cli.folder / "dist/a"))

    assert "stored" in cli.run(*arguments).err
    assert "restored" in cli.run(*arguments).err
    assert leftovers(cli.folder) == set()


def test_a_run_killed_during_its_restore_leaves_the_next_one_intact(
    faked: Cli, fake: StrictFake
) -> None:
    faked.shell("mkdir -p dist; echo made > dist/a")
    fake.script(Stall())
    asked = len(fake.received)
    killed = faked.start(*faked.shelled("mkdir -p dist; echo made > dist/a"))
    eventually(lambda: len(fake.received) > asked)
    killed.kill()
    killed.wait()

    assert "restored" in faked.shell("mkdir -p dist; echo made > dist/a").err
    assert snapshot(faked.folder / "dist") == {"a": ("file", b"made\n")}
    assert leftovers(faked.folder) == set()


@pytest.mark.parametrize("code", [5, 0])
def test_whoever_ends_a_run_ends_its_command_which_is_then_not_stored(cli: Cli, code: int) -> None:
    trap = f"trap 'echo ended > dist/a; exit {code}' TERM; mkdir -p dist; "
    run = cli.start(*cli.shelled(trap + GATED))
    eventually(lambda: read(cli.folder / "pid"))
    run.send_signal(signal.SIGTERM)

    done = cli.done(run)

    assert (done.code, (cli.folder / "dist/a").read_text()) == (code, "ended\n")
    assert "stored" not in done.err.replace("not stored", "")


def test_a_run_within_a_run_for_the_same_outputs_does_not_wait_for_itself(cli: Cli) -> None:
    inner = [sys.executable, "-m", "hitrate", "exec", *cli.shelled("mkdir dist; echo > dist/a")]
    outer = cli.start("--inputs", "src", "--outputs", "dist", "--", *inner)

    assert cli.done(outer, timeout=5).code == 0


def read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
