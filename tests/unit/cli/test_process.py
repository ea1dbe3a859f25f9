"""Commands as processes, with a running server and without one."""

import json
from pathlib import Path

import pytest

from hitrate.cli.main import COMMANDS as TOP_LEVEL
from hitrate.cli.team import team
from hitrate.cli.token import token
from hitrate.cli.user import user
from tests.conftest import StartServer
from tests.support.cli import run_cli
from tests.support.event_factory import body, event
from tests.support.server import Server, eventually, free_port, run_hitrate, try_hitrate

COMMANDS = [
    *([name] for name in TOP_LEVEL),
    *(["team", name] for name in team.commands),
    *(["token", name] for name in token.commands),
    *(["user", name] for name in user.commands),
]


def record(server: Server, session: str, count: int = 1) -> None:
    items = (event(sessionId=session, hash=f"h{n}") for n in range(count))
    assert server.request("POST", "/v8/artifacts/events", content=body(*items)).status_code == 200


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_text(command: list[str]) -> None:
    result = run_cli(*command, "--help")
    assert result.exit_code == 0
    assert f"Usage: hitrate {' '.join(command)}" in result.output


def test_the_installed_command_prints_its_help() -> None:
    assert "Usage: hitrate" in run_hitrate("--help")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["team", "create", "NOT A SLUG"], "slug"),
        (["token", "create", "--team", "nobody"], "'nobody'"),
        (["token", "create", "--team", "nobody", "--expires", "soon"], "--expires"),
        (["token", "revoke", "tok_none"], "tok_none"),
        (["events", "--team", "nobody"], "'nobody'"),
        (["serve", "--port", "http"], "--port is 'http'"),
        (["serve", "--tls-cert", "none.pem"], "go together"),
        (["serve", "--tls-cert", "none.pem", "--tls-key", "none.pem"], "none.pem"),
        (["gc", "--max-cache-bytes", "lots"], "--max-cache-bytes"),
        (["team", "list", "--config", "none.toml"], "none.toml"),
    ],
)
def test_an_error_is_one_line_on_standard_error(
    tmp_path: Path, command: list[str], message: str
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    result = try_hitrate(*command, "--data-dir", str(tmp_path / "data"))
    assert result.returncode != 0
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command",
    [["team", "list"], ["token", "list"], ["token", "create", "--team", "a"],
     ["events", "--team", "a"], ["gc"], ["gc", "--dry-run"]],
    ids=" ".join,
)  # fmt: skip
def test_a_missing_data_directory_is_reported_and_not_created(
    tmp_path: Path, command: list[str]
) -> None:
    result = try_hitrate(*command, "--data-dir", str(tmp_path / "data"))
    assert result.returncode == 1
    assert "does not exist. Change to the directory" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_doctor_checks_a_missing_data_directory_without_creating_it(tmp_path: Path) -> None:
    path, port = tmp_path / "data", free_port()
    command = ["doctor", "--data-dir", str(path), "--port", str(port)]
    result = try_hitrate(*command)
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [
            f"ok    data directory {path} does not exist; the first start creates it",
            f"ok    127.0.0.1:{port} is free to listen on",
        ],
    )
    options = ["--tls-cert", str(tmp_path / "none.pem"), "--tls-key", str(tmp_path / "none.pem")]
    result = try_hitrate(*command, *options)
    assert result.returncode == 1
    assert "none.pem is not a file" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_first_start_prints_variables_for_turbo_and_later_ones_do_not(
    server: Server,
) -> None:
    lines = server.output.splitlines()
    assert f"export TURBO_API={server.url}" in lines
    assert "export TURBO_TEAM=default" in lines
    assert [line for line in lines if line.startswith("export TURBO_TOKEN=hr_")]
    before = len(server.output)
    server.stop()
    server.start()
    assert "The variables for turbo were printed at the first start." in server.output[before:]
    assert server.request("GET", "/v8/artifacts/status").status_code == 200


def test_only_the_owner_can_read_the_files_of_the_server(server: Server) -> None:
    record(server, "s1")
    assert server.request("PUT", "/v8/artifacts/small", content=b"x").status_code == 202
    assert server.request("PUT", "/v8/artifacts/large", content=b"x" * 10**6).status_code == 202
    eventually(lambda: len(server.events()) == 1)
    server.stop()
    paths = list(server.data_dir.rglob("*"))
    assert {"hitrate.lock", "events.duckdb", "spool", "artifacts", "meter.ndjson"} <= {
        path.name for path in paths
    }
    assert [path.name for path in paths if path.stat().st_mode & 0o077] == []


def test_settings_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text(f'data_dir = "{tmp_path}/from-file"\n')
    run_hitrate("team", "create", "a", env={"HITRATE_CONFIG": str(file)})
    assert (tmp_path / "from-file" / "hitrate.sqlite").exists()
    run_hitrate("team", "create", "a", env={"HITRATE_DATA_DIR": str(tmp_path / "from-env")})
    assert (tmp_path / "from-env" / "hitrate.sqlite").exists()


def test_teams_and_tokens_are_created_and_listed_while_the_server_runs(server: Server) -> None:
    server.command("team", "create", "web", "--name", "Web team")
    teams = json.loads(server.command("team", "list", "--json"))
    assert [(team["slug"], team["name"]) for team in teams] == [
        ("default", "default"),
        ("web", "Web team"),
    ]
    secret = server.command(
        "token", "create", "--team", "web", "--read-only", "--expires", "30d", "--label", "ci"
    )
    assert secret.startswith("hr_")
    assert len(secret.split()) == 1
    [created] = json.loads(server.command("token", "list", "--team", "web", "--json"))
    assert (created["label"], created["state"]) == ("ci", "valid")
    assert created["scopes"] == ["analytics", "events", "read"]
    assert created["expiresAt"] is not None
    assert secret.strip() not in server.command("token", "list")
    response = server.request("GET", "/v8/artifacts/status", token=secret.strip())
    assert response.status_code == 200


def test_events_are_listed_from_the_running_server(server: Server) -> None:
    record(server, "s1", 3)
    record(server, "s2")
    eventually(lambda: len(server.events()) == 4)
    listed = server.command("events", "--team", "default", "--session", "s1", "--json").splitlines()
    assert [json.loads(line)["sessionId"] for line in listed] == ["s1"] * 3
    assert "4 events" in server.command("events", "--team", "default")
    assert "0 events" in server.command("events", "--team", "default", "--since", "2999-01-01")


def test_events_without_a_server_include_those_in_the_spool(server: Server) -> None:
    record(server, "s1", 1500)
    server.kill()
    newest = try_hitrate("events", "--team", "default", "--data-dir", str(server.data_dir))
    assert "Showing the newest 1000; use --limit for more." in newest.stderr
    listed = server.command("events", "--team", "default", "--limit", "5000", "--json")
    assert len(listed.splitlines()) == 1500


def test_the_temporary_operator_token_is_deleted(server: Server) -> None:
    server.command("events", "--team", "default")
    assert len(json.loads(server.command("token", "list", "--json"))) == 1


def test_gc_dry_run_reports_and_gc_removes(start_server: StartServer) -> None:
    server = start_server("--artifact-ttl", "1h")
    for name in ("a", "b"):
        server.request("PUT", f"/v8/artifacts/{name}", content=b"x" * 1000)
    orphan = server.data_dir / "artifacts" / "team_gone" / "aa" / "aaaa"
    server.stop()
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    server.start()
    eventually(lambda: not orphan.exists())  # the repair that each start does once
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"x")
    report = json.loads(server.command("gc", "--dry-run", "--json"))
    assert report["removed"] == {"orphanBody": {"count": 1, "sizeBytes": 1}}
    assert orphan.exists()
    assert "bodies without an artifact" in server.command("gc")
    assert not orphan.exists()
    server.stop()
    report = json.loads(server.command("gc", "--max-cache-bytes", "1500", "--json"))
    assert report["removed"] == {"overCacheLimit": {"count": 1, "sizeBytes": 1000}}
    assert "Nothing to remove" in server.command("gc")


def test_doctor_finds_no_problem_in_a_healthy_server_or_directory(server: Server) -> None:
    running = server.command("doctor", "--port", str(server.port))
    assert "server responds at" in running
    assert "FAIL" not in running
    server.stop()
    stopped = json.loads(server.command("doctor", "--port", str(server.port), "--json"))
    assert {finding["level"] for finding in stopped} == {"ok"}


def test_a_second_server_cannot_use_the_data_directory_or_the_port(
    server: Server, tmp_path: Path
) -> None:
    data_dir = ["--data-dir", str(server.data_dir)]
    result = try_hitrate("serve", *data_dir, "--port", str(free_port()))
    assert result.returncode == 1
    assert server.url in result.stderr
    result = try_hitrate("serve", "--data-dir", str(tmp_path / "x"), "--port", str(server.port))
    assert result.returncode == 1
    assert "choose another --port" in result.stderr


def test_a_data_directory_that_cannot_be_created_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = try_hitrate("serve", "--data-dir", str(tmp_path / "file" / "data"))
    assert result.returncode == 1
    assert "--data-dir" in result.stderr
    assert len(result.stderr.splitlines()) == 1
