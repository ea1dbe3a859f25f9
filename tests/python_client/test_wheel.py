"""The wheel in an empty environment: the client alone, without the server's libraries."""

import json
import os
import subprocess
import sys
import uuid
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import doc_examples
from tests.support.doc_examples import Example, examples
from tests.support.event_factory import body, event
from tests.support.server import Server

ROOT = Path(__file__).resolve().parents[2]
SERVER_ONLY = {
    "alembic", "duckdb", "granian", "litestar", "prometheus-client", "sqlalchemy", "structlog",
    "uvloop",
}  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """An environment with nothing but the wheel and what it needs; `programs` is its bin."""

    programs: Path

    def python(self, code: str) -> str:
        return output(str(self.programs / "python"), "-c", code)


def output(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    output(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / "bin"
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"the client's libraries cannot be had: {done.stderr[-500:]}")
    assert done.returncode == 0, done.stderr
    return Installed(programs)


def test_wheel_installs_no_server_libraries(installed: Installed) -> None:
    listed = output(str(installed.programs / "python"), "-m", "pip", "list", "--format", "json")
    names = {package["name"].lower().replace("_", "-") for package in json.loads(listed)}
    assert names >= {"hitrate", "httpx", "msgspec"}
    assert names & SERVER_ONLY == set()


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.heading)
def test_documentation_examples_run_with_the_wheel(
    installed: Installed, shared_server: Server, tmp_path: Path, example: Example
) -> None:
    doc_examples.run_example(example, installed.programs, tmp_path, shared_server)


def test_server_commands_name_the_missing_extra(installed: Installed) -> None:
    command = [str(installed.programs / "hitrate"), "serve", "--port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'hitrate[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_marks_commands_that_are_not_installed(installed: Installed) -> None:
    told = output(str(installed.programs / "hitrate"), "--help")
    told = " ".join(told.split())
    assert " exec Run COMMAND" in told
    assert " report Say what the cache did" in told
    assert " serve Not installed: needs hitrate[server]." in told


def test_client_commands_work_without_server_libraries(
    installed: Installed, shared_server: Server, tmp_path: Path
) -> None:
    """They need neither the server's libraries nor those for tables in a terminal."""
    program = str(installed.programs / "hitrate")
    for command in ("report", "stats", "runs", "run", "artifacts", "export"):
        assert f"Usage: hitrate {command}" in output(program, command, "--help")
    env = {**os.environ, "TURBO_API": shared_server.url, "TURBO_TOKEN": shared_server.token}
    session, table = str(uuid.uuid4()), tmp_path / "runs.csv"
    events = [event(sessionId=session, hash="cafe", duration=754_000)]
    answer = shared_server.request("POST", "/v8/artifacts/events", content=body(*events))
    assert answer.status_code == 200

    def told(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        return done.stdout

    line = "this run: 1 of 1 task from cache, 12m34s saved\n"
    assert told("report", "--session", session, "--fail-under", "1") == line
    assert told("report", "--last").startswith("this run: ")
    assert "local hit" in told("run", session)
    assert session in told("runs", "--limit", "1000")
    assert "Hit rate" in told("stats")
    told("artifacts")
    told("export", "runs", "-o", str(table))
    assert session in table.read_text()


def test_commands_without_a_server_explain_how_to_set_one(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TURBO_")}
    command = [str(installed.programs / "hitrate"), "report", "--last"]
    done = subprocess.run(
        command, env=kept, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("hitrate: No server is named. Set TURBO_API and TURBO_TOKEN")


def test_wheel_has_type_information(installed: Installed, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from hitrate.client import Hitrate, cached\n"
        "reveal_type(Hitrate().artifacts.status().status)\n"
        "reveal_type(cached(lambda: 3, inputs=['**']).value)\n"
        "Hitrate().artifacts.upload('a', b'', x_artifact_durations=3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"]
    command += ["--python-executable", str(installed.programs / "python"), str(program)]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    ).stdout
    assert 'Revealed type is "hitrate.client.models.CachingStatus"' in told
    assert 'Revealed type is "int | None"' in told
    assert 'Unexpected keyword argument "x_artifact_durations"' in told
