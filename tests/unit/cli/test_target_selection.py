"""How the commands on analytics find their server, and what they say when they do not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hitrate.cli.main import cli
from tests.conftest import StartServer
from tests.support.remote_cli import NO_TURBO, Fake, Workshop, told
from tests.support.server import Server

COMMANDS = [["stats"], ["runs"], ["run", "s"], ["artifacts"], ["export", "runs"],
            ["report", "--last"]]  # fmt: skip
MODULES = ["stats", "runs", "run", "artifacts", "export", "report"]


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    workshop = Workshop(shared_server)
    workshop.record_run("s", hits=1, misses=1)
    return workshop


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_server_of_turbo_is_asked(workshop: Workshop, command: list[str]) -> None:
    assert workshop.run(*command, env={"TURBO_TEAM": None}).exit_code == 0  # the token has one team
    assert workshop.process(*command).returncode == 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_server_of_a_data_folder_is_asked_as_its_operator(
    workshop: Workshop, command: list[str]
) -> None:
    assert workshop.operator(*command, "--team", workshop.slug).exit_code == 0
    listed = workshop.operator("token", "list", "--team", workshop.slug, "--json").stdout
    assert "operator" not in listed


def test_a_data_folder_that_is_named_goes_before_the_environment(
    workshop: Workshop, shared_server: Server
) -> None:
    folder = ["--data-dir", str(shared_server.data_dir), "--team", workshop.slug]
    done = workshop.run("runs", *folder, env={"TURBO_API": "http://127.0.0.1:1"})
    assert done.exit_code == 0
    both = workshop.refused("runs", *folder, "--api", shared_server.url, code=2)
    assert "name one of them" in both


def test_options_go_before_the_environment(workshop: Workshop) -> None:
    done = workshop.run(
        "runs", "--api", workshop.server.url, env={"TURBO_API": "http://127.0.0.1:1"}
    )
    assert done.exit_code == 0
    done = workshop.run("runs", "--team", workshop.slug, env={"TURBO_TEAM": "nobodys"})
    assert done.exit_code == 0


def test_a_team_may_be_named_by_its_id(workshop: Workshop) -> None:
    teams = json.loads(workshop.operator("team", "list", "--json").stdout)
    [team_id] = [team["id"] for team in teams if team["slug"] == workshop.slug]
    [other] = [team["id"] for team in teams if team["slug"] == "default"]
    assert workshop.run("runs", env={"TURBO_TEAM": None, "TURBO_TEAMID": team_id}).exit_code == 0
    assert "team" in workshop.refused("runs", env={"TURBO_TEAM": None, "TURBO_TEAMID": other})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TURBO_TOKEN": None}, "There is no token: set TURBO_TOKEN"),
        ({"TURBO_TOKEN": "hr_" + "x" * 38}, "unknown, expired or revoked"),
        ({"TURBO_TOKEN": "two words"}, "characters that no token has"),
        ({"TURBO_TEAM": "nobodys"}, "no permission for the team"),
        ({"TURBO_API": "127.0.0.1:3000"}, "(TURBO_API, or --api) must be like https://"),
        ({"TURBO_API": "http://127.0.0.1:1"}, "No answer from http://127.0.0.1:1"),
    ],
    ids=["no token", "unknown token", "broken token", "unknown team", "no address", "no server"],
)
def test_what_is_wrong_is_one_clear_line_without_the_secret(
    workshop: Workshop, command: list[str], changes: dict[str, str | None], words: str
) -> None:
    said = workshop.refused(*command, env=changes)
    assert words in said
    assert workshop.token not in said
    assert str(changes.get("TURBO_TOKEN")) not in said


def test_a_read_only_token_is_enough_and_one_without_analytics_is_told(workshop: Workshop) -> None:
    team = ["--team", workshop.slug]
    read_only = workshop.operator("token", "create", *team, "--read-only").stdout.strip()
    assert workshop.run("stats", env={"TURBO_TOKEN": read_only}).exit_code == 0
    none = workshop.operator("token", "create", *team, "--scopes", "read").stdout.strip()
    assert "permission `analytics`" in workshop.refused("stats", env={"TURBO_TOKEN": none})


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
    ids=["empty", "list", "page", "no text", "not found", "no page", "moved"],
)
def test_a_server_of_another_kind_is_one_clear_line(
    workshop: Workshop, fake: Fake, command: list[str], status: int, content_type: str, body: bytes
) -> None:
    fake.status, fake.content_type, fake.body = status, content_type, body
    assert workshop.refused(*command, env={"TURBO_API": fake.url})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_where_no_server_is_named_it_says_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, command, env=NO_TURBO)
    assert done.exit_code == 1
    assert "Set TURBO_API and TURBO_TOKEN" in told(done)
    assert list(tmp_path.iterdir()) == []


def test_on_a_data_folder_what_is_missing_is_told(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    folder = ["--data-dir", str(server.data_dir)]

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(cli, arguments, env=NO_TURBO)
        assert done.exit_code != 0
        return told(done)

    assert "Name the team: --team SLUG" in said("stats", *folder)
    assert "There is no team 'nobodys' (teams: default)" in said(
        "stats", *folder, "--team", "nobodys"
    )
    server.stop()
    stopped = said("stats", *folder, "--team", "default")
    assert "start it with `hitrate serve`" in stopped
    assert "TURBO_API" in stopped
    monkeypatch.chdir(server.data_dir.parent)
    gone = said("stats", "--data-dir", "elsewhere", "--team", "default")
    assert "There is no data folder elsewhere" in gone


def test_the_folder_is_found_as_other_commands_find_it(
    shared_server: Server, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["runs", "--team", workshop.slug]
    named = {**NO_TURBO, "HITRATE_DATA_DIR": str(shared_server.data_dir)}
    assert CliRunner().invoke(cli, arguments, env=named).exit_code == 0
    file = tmp_path / "hitrate.toml"
    file.write_text(f'data_dir = "{shared_server.data_dir}"\n')
    assert CliRunner().invoke(cli, arguments, env=NO_TURBO).exit_code == 0
    file.rename(tmp_path / "other.toml")
    arguments += ["--config", "other.toml"]
    assert CliRunner().invoke(cli, arguments, env=NO_TURBO).exit_code == 0


def test_a_secret_is_no_argument(workshop: Workshop) -> None:
    said = workshop.refused("runs", "--token", workshop.token, code=2)
    assert "that is a secret" in said
    assert workshop.token not in said


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_names_what_a_command_takes(command: list[str]) -> None:
    done = CliRunner().invoke(cli, [command[0], "--help"], prog_name="hitrate")
    assert done.exit_code == 0
    assert f"Usage: hitrate {command[0]} " in done.output
    assert "TURBO_API" in done.output
    assert "TURBO_TOKEN" in done.output


@pytest.mark.parametrize("module", MODULES)
def test_help_does_not_wait_for_libraries(module: str) -> None:
    look = (
        f"import sys, hitrate.cli.{module}; print({{'httpx', 'rich', 'duckdb'}} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "set()", done.stderr
