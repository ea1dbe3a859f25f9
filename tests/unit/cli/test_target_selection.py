"""How commands on analytics find server, team and token, and their errors if they do not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.cli import error_line, run_cli
from tests.support.remote_cli import NO_TURBO, FakeServer, RemoteCli
from tests.support.server import Server

COMMANDS = [["stats"], ["runs"], ["run", "s"], ["artifacts"], ["export", "runs"],
            ["report", "--last"]]  # fmt: skip
MODULES = ["stats", "runs", "run", "artifacts", "export", "report"]


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with one run."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.record_run("s", hits=1, misses=1)
    return remote_cli


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_use_the_server_of_turbo(remote_cli: RemoteCli, command: list[str]) -> None:
    # A team token needs no team.
    assert remote_cli.run(*command, env={"TURBO_TEAM": None}).exit_code == 0
    assert remote_cli.run_process(*command).returncode == 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_query_the_server_on_a_data_directory_as_operator(
    remote_cli: RemoteCli, command: list[str]
) -> None:
    assert remote_cli.run_as_operator(*command, "--team", remote_cli.slug).exit_code == 0
    tokens = remote_cli.run_as_operator("token", "list", "--team", remote_cli.slug, "--json").stdout
    assert "operator" not in tokens


def test_the_option_data_dir_overrides_the_environment(
    remote_cli: RemoteCli, shared_server: Server
) -> None:
    options = ["--data-dir", str(shared_server.data_dir), "--team", remote_cli.slug]
    result = remote_cli.run("runs", *options, env={"TURBO_API": "http://127.0.0.1:1"})
    assert result.exit_code == 0
    error = remote_cli.run_error("runs", *options, "--api", shared_server.url, code=2)
    assert "Pass either --api or a data directory" in error


def test_options_override_the_environment(remote_cli: RemoteCli) -> None:
    result = remote_cli.run(
        "runs", "--api", remote_cli.server.url, env={"TURBO_API": "http://127.0.0.1:1"}
    )
    assert result.exit_code == 0
    result = remote_cli.run("runs", "--team", remote_cli.slug, env={"TURBO_TEAM": "unknown-team"})
    assert result.exit_code == 0


def test_turbo_teamid_selects_the_team_by_its_id(remote_cli: RemoteCli) -> None:
    teams = json.loads(remote_cli.run_as_operator("team", "list", "--json").stdout)
    [team_id] = [team["id"] for team in teams if team["slug"] == remote_cli.slug]
    [other] = [team["id"] for team in teams if team["slug"] == "default"]
    assert remote_cli.run("runs", env={"TURBO_TEAM": None, "TURBO_TEAMID": team_id}).exit_code == 0
    assert "team" in remote_cli.run_error("runs", env={"TURBO_TEAM": None, "TURBO_TEAMID": other})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TURBO_TOKEN": None}, "There is no token: set TURBO_TOKEN"),
        ({"TURBO_TOKEN": "hr_" + "x" * 38}, "unknown, expired or revoked"),
        ({"TURBO_TOKEN": "two words"}, "The token contains invalid characters"),
        ({"TURBO_TEAM": "unknown-team"}, "no permission for the requested team"),
        ({"TURBO_API": "127.0.0.1:3000"}, "(TURBO_API, or --api) must look like https://"),
        ({"TURBO_API": "http://127.0.0.1:1"}, "No response from http://127.0.0.1:1"),
    ],
    ids=["no token", "unknown token", "invalid token", "unknown team", "invalid URL", "no server"],
)
def test_errors_are_one_line_without_the_secret(
    remote_cli: RemoteCli, command: list[str], changes: dict[str, str | None], message: str
) -> None:
    error = remote_cli.run_error(*command, env=changes)
    assert message in error
    assert remote_cli.token not in error
    assert str(changes.get("TURBO_TOKEN")) not in error


def test_the_token_needs_the_permission_analytics(remote_cli: RemoteCli) -> None:
    team = ["--team", remote_cli.slug]
    read_only = remote_cli.run_as_operator("token", "create", *team, "--read-only").stdout.strip()
    assert remote_cli.run("stats", env={"TURBO_TOKEN": read_only}).exit_code == 0
    without_analytics = remote_cli.run_as_operator(
        "token", "create", *team, "--scopes", "read"
    ).stdout.strip()
    assert "permission `analytics`" in remote_cli.run_error(
        "stats", env={"TURBO_TOKEN": without_analytics}
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (200, "application/json", b"{}"),
        (200, "application/json", b"[]"),
        (200, "text/html", b"<html>"),
        (200, "application/json", b"\xff\xfe"),
        (404, "application/json", b'{"error": {"code": "not_found", "message": "Not\\nhere"}}'),
        (404, "text/html", b"<html>"),
        (302, "text/html", b""),
    ],
    ids=["empty", "list", "page", "invalid UTF-8", "not found", "missing page", "redirect"],
)
def test_an_unexpected_response_is_reported_in_one_line(
    remote_cli: RemoteCli,
    fake_server: FakeServer,
    command: list[str],
    status: int,
    content_type: str,
    body: bytes,
) -> None:
    fake_server.status, fake_server.content_type, fake_server.body = status, content_type, body
    assert remote_cli.run_error(*command, env={"TURBO_API": fake_server.url})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_missing_server_is_reported_with_the_variables_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_cli(*command, env=NO_TURBO)
    assert result.exit_code == 1
    assert "Set TURBO_API and TURBO_TOKEN" in error_line(result)
    assert list(tmp_path.iterdir()) == []


def test_errors_on_a_data_directory_name_what_is_missing(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    options = ["--data-dir", str(server.data_dir)]

    def run_error(*arguments: str) -> str:
        result = run_cli(*arguments, env=NO_TURBO)
        assert result.exit_code != 0
        return error_line(result)

    assert "Pass the team: --team SLUG" in run_error("stats", *options)
    assert "There is no team 'unknown-team' (teams: default)" in run_error(
        "stats", *options, "--team", "unknown-team"
    )
    server.stop()
    stopped = run_error("stats", *options, "--team", "default")
    assert "Start it with `hitrate serve`" in stopped
    assert "TURBO_API" in stopped
    monkeypatch.chdir(server.data_dir.parent)
    missing = run_error("stats", "--data-dir", "elsewhere", "--team", "default")
    assert "The data directory elsewhere does not exist" in missing


def test_the_data_directory_comes_from_the_environment_or_a_file(
    shared_server: Server, remote_cli: RemoteCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["runs", "--team", remote_cli.slug]
    env = {**NO_TURBO, "HITRATE_DATA_DIR": str(shared_server.data_dir)}
    assert run_cli(*arguments, env=env).exit_code == 0
    file = tmp_path / "hitrate.toml"
    file.write_text(f'data_dir = "{shared_server.data_dir}"\n')
    assert run_cli(*arguments, env=NO_TURBO).exit_code == 0
    file.rename(tmp_path / "other.toml")
    arguments += ["--config", "other.toml"]
    assert run_cli(*arguments, env=NO_TURBO).exit_code == 0


def test_a_secret_as_an_argument_is_rejected(remote_cli: RemoteCli) -> None:
    error = remote_cli.run_error("runs", "--token", remote_cli.token, code=2)
    assert "this is a secret" in error
    assert remote_cli.token not in error


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_names_the_variables_of_turbo(command: list[str]) -> None:
    result = run_cli(command[0], "--help")
    assert result.exit_code == 0
    assert f"Usage: hitrate {command[0]} " in result.output
    assert "TURBO_API" in result.output
    assert "TURBO_TOKEN" in result.output


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_command_imports_no_large_library(module: str) -> None:
    code = (
        f"import sys, hitrate.cli.{module}; print({{'httpx', 'rich', 'duckdb'}} & {{*sys.modules}})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == "set()", result.stderr
