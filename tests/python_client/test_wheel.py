"""The wheel in a new environment: the client without the server's libraries."""

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
class Environment:
    """An environment with only the wheel and its dependencies."""

    bin_dir: Path

    def python(self, code: str) -> str:
        return output(str(self.bin_dir / "python"), "-c", code)


def output(*command: str) -> str:
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    directory = tmp_path_factory.mktemp("wheel")
    output(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory))
    [wheel] = directory.glob("*.whl")
    venv.create(directory / "env", with_pip=True)
    bin_dir = directory / "env" / "bin"
    pip = [str(bin_dir / "python"), "-m", "pip", "install", "--quiet", str(wheel)]
    process = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
    if process.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"the client's libraries cannot be had: {process.stderr[-500:]}")
    assert process.returncode == 0, process.stderr
    return Environment(bin_dir)


def test_wheel_installs_no_server_libraries(environment: Environment) -> None:
    packages = output(str(environment.bin_dir / "python"), "-m", "pip", "list", "--format", "json")
    names = {package["name"].lower().replace("_", "-") for package in json.loads(packages)}
    assert names >= {"hitrate", "httpx", "msgspec"}
    assert names & SERVER_ONLY == set()


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.heading)
def test_documentation_examples_run_with_the_wheel(
    environment: Environment, shared_server: Server, tmp_path: Path, example: Example
) -> None:
    doc_examples.run_example(example, environment.bin_dir, tmp_path, shared_server)


def test_server_commands_name_the_missing_extra(environment: Environment) -> None:
    command = [str(environment.bin_dir / "hitrate"), "serve", "--port", "1"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 1
    assert "Install hitrate with its extra `server`" in process.stderr
    assert "Traceback" not in process.stderr


def test_help_marks_commands_that_are_not_installed(environment: Environment) -> None:
    help_text = " ".join(output(str(environment.bin_dir / "hitrate"), "--help").split())
    assert " exec Restore the outputs of COMMAND" in help_text
    assert " report Report one run: " in help_text
    assert " serve Not available: needs the extra `server`." in help_text


def test_client_commands_work_without_server_libraries(
    environment: Environment, shared_server: Server, tmp_path: Path
) -> None:
    """They also work without the library for tables in a terminal."""
    hitrate_path = str(environment.bin_dir / "hitrate")
    for command in ("report", "stats", "runs", "run", "artifacts", "export"):
        assert f"Usage: hitrate {command}" in output(hitrate_path, command, "--help")
    env = {**os.environ, "TURBO_API": shared_server.url, "TURBO_TOKEN": shared_server.token}
    session, table = str(uuid.uuid4()), tmp_path / "runs.csv"
    events = [event(sessionId=session, hash="cafe", duration=754_000)]
    response = shared_server.request("POST", "/v8/artifacts/events", content=body(*events))
    assert response.status_code == 200

    def run(*arguments: str) -> str:
        process = subprocess.run(
            [hitrate_path, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert (process.returncode, "Traceback" in process.stderr) == (0, False), process.stderr
        return process.stdout

    line = "this run: 1 of 1 task from cache, 12m34s saved\n"
    assert run("report", "--session", session, "--fail-under", "1") == line
    assert run("report", "--last").startswith("this run: ")
    assert "local hit" in run("run", session)
    assert session in run("runs", "--limit", "1000")
    assert "Hit rate" in run("stats")
    run("artifacts")
    run("export", "runs", "-o", str(table))
    assert session in table.read_text()


def test_commands_without_a_server_explain_how_to_set_one(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TURBO_")}
    command = [str(environment.bin_dir / "hitrate"), "report", "--last"]
    process = subprocess.run(
        command,
        env=inherited,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith(
        "hitrate: No server is configured. Set TURBO_API and TURBO_TOKEN"
    )


def test_wheel_has_type_information(environment: Environment, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from hitrate.client import Hitrate, cached\n"
        "reveal_type(Hitrate().artifacts.status().status)\n"
        "reveal_type(cached(lambda: 3, inputs=['**']).value)\n"
        "Hitrate().artifacts.upload('a', b'', x_artifact_durations=3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"]
    command += ["--python-executable", str(environment.bin_dir / "python"), str(program)]
    report = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    ).stdout
    assert 'Revealed type is "hitrate.client.models.CachingStatus"' in report
    assert 'Revealed type is "int | None"' in report
    assert 'Unexpected keyword argument "x_artifact_durations"' in report
