"""`hitrate user`: users, their passwords, and invalid arguments."""

import shutil
from secrets import token_hex

import pytest

from hitrate.roles import Role
from tests.support.offline_cli import OfflineCli
from tests.support.server import Server, eventually

ANN = "ann@example.com"


def can_sign_in(offline_cli: OfflineCli, password: str, email: str = ANN) -> bool:
    return offline_cli.accounts().users.authenticate(email, password) is not None


def test_create_prints_only_the_generated_password_on_standard_output(
    offline_cli: OfflineCli,
) -> None:
    result = offline_cli.run("user", "create", "Ann@Example.com", "--name", "Ann Lee")
    [password] = result.stdout.split()
    assert result.stdout == f"{password}\n"
    assert len(password) >= 20
    assert f"{ANN} (usr_" in result.stderr
    assert password not in result.stderr
    assert can_sign_in(offline_cli, password)
    assert password not in offline_cli.run_ok("user", "list")
    assert password.encode() not in offline_cli.file_contents()


def test_a_password_from_standard_input_is_not_printed(offline_cli: OfflineCli) -> None:
    stdin = "pass wörd with spaces ".encode()
    assert offline_cli.run_ok("user", "create", ANN, "--password-stdin", stdin=stdin + b"\n") == ""
    assert can_sign_in(offline_cli, stdin.decode())
    assert (
        offline_cli.run_ok(
            "user", "reset-password", ANN, "--password-stdin", stdin=b"another one\r\n"
        )
        == ""
    )
    assert can_sign_in(offline_cli, "another one")
    assert not can_sign_in(offline_cli, stdin.decode())
    for secret in (stdin, b"another one"):
        assert secret not in offline_cli.file_contents()


@pytest.mark.parametrize("stdin", [b"", b"\n", b"short\n", b"x" * 2000, b"\xff\xfe23456789abc\n"])
def test_an_invalid_password_is_rejected_and_not_repeated_in_the_error(
    offline_cli: OfflineCli, stdin: bytes
) -> None:
    line = offline_cli.run_error("user", "create", ANN, "--password-stdin", stdin=stdin)
    assert "10 to 1024 characters" in line or "UTF-8" in line
    assert "short" not in line
    assert offline_cli.run_json("user", "list") == []


def test_a_user_without_a_password_signs_in_through_the_identity_provider(
    offline_cli: OfflineCli,
) -> None:
    assert offline_cli.run_ok("user", "create", ANN, "--no-password") == ""
    [row] = offline_cli.run_json("user", "list")
    assert (row["email"], row["signsInBy"], row["state"]) == (ANN, "identity provider", "active")
    both = ("--no-password", "--password-stdin")
    assert "not both" in offline_cli.run_error("user", "create", "bob@example.com", *both)
    assert can_sign_in(offline_cli, offline_cli.run_ok("user", "reset-password", ANN).strip())


def test_create_adds_the_user_to_a_team_with_a_role(offline_cli: OfflineCli) -> None:
    offline_cli.run_ok("team", "create", "web")
    offline_cli.run_ok(
        "user", "create", ANN, "--team", "web", "--role", "owner", "--username", "ann.l"
    )
    offline_cli.run_ok("user", "create", "bob@example.com", "--team", "web")
    rows = offline_cli.run_json("user", "list")
    assert [(row["username"], row["teams"]) for row in rows] == [
        ("ann.l", {"web": "OWNER"}),
        ("bob", {"web": "DEVELOPER"}),
    ]
    assert "web: OWNER" in offline_cli.run_ok("user", "list")


def test_create_as_json_includes_the_generated_password(offline_cli: OfflineCli) -> None:
    created = offline_cli.run_json("user", "create", ANN)
    assert set(created) == {"id", "email", "username", "name", "password"}
    assert can_sign_in(offline_cli, created["password"])
    assert set(offline_cli.run_json("user", "create", "b@x", "--no-password")) == set(created) - {
        "password"
    }


def test_reset_password_prints_only_the_new_password(offline_cli: OfflineCli) -> None:
    first = offline_cli.run_ok("user", "create", ANN).strip()
    result = offline_cli.run("user", "reset-password", ANN.upper())
    assert result.stderr == f"Set a new password for {ANN}.\n"
    assert can_sign_in(offline_cli, result.stdout.strip())
    assert not can_sign_in(offline_cli, first)


def test_disable_reports_teams_without_an_active_owner(offline_cli: OfflineCli) -> None:
    offline_cli.run_ok("team", "create", "web")
    offline_cli.run_ok("user", "create", ANN, "--no-password", "--team", "web", "--role", "OWNER")
    offline_cli.run_ok(
        "user", "create", "bob@x", "--no-password", "--team", "web", "--role", "OWNER"
    )
    assert offline_cli.run("user", "disable", "bob@x").stderr == "Disabled bob@x.\n"
    result = offline_cli.run("user", "disable", ANN)
    assert result.stderr == f"Disabled {ANN}.\nTeams without an active owner: web.\n"
    assert {row["state"] for row in offline_cli.run_json("user", "list")} == {"disabled"}
    assert offline_cli.run("user", "enable", ANN).stderr == f"Enabled {ANN}.\n"
    assert offline_cli.run("user", "enable", ANN).exit_code == 0
    team = offline_cli.accounts().teams.find(slug="web")
    assert team is not None
    assert [m.role for m in offline_cli.accounts().members.list_for_team(team)] == [
        Role.OWNER,
        Role.OWNER,
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["create", "ann"], "not an email address"),
        (["create", "a b@x"], "not an email address"),
        (["create", "a\x1b[31m@x"], "'a\\x1b[31m@x' is not"),
        (["create", "a\udcff@x"], "'a\\udcff@x' is not"),
        (
            ["create", ANN, "--team", "unknown-team"],
            "There is no team 'unknown-team' (teams: none yet)",
        ),
        (["create", ANN, "--username", "Ann Lee"], "cannot be a username"),
        (["create", ANN, "--name", "a\nb"], "1 to 100 printable characters"),
        (["create", ANN, "--role", "king"], "'king' is not one of"),
        (["create"], "Missing argument 'EMAIL'"),
        (["disable", ANN], f"There is no user '{ANN}'; `hitrate user list`"),
        (["enable", ANN], f"There is no user '{ANN}'"),
        (["reset-password", ANN], f"There is no user '{ANN}'"),
        (["reset-password", "ann"], "not an email address"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_invalid_arguments_are_reported_in_one_line(
    offline_cli: OfflineCli, command: list[str], message: str
) -> None:
    assert message in offline_cli.run_error("user", *command)
    assert offline_cli.run_json("user", "list") == []


def test_a_duplicate_email_or_username_is_rejected(offline_cli: OfflineCli) -> None:
    offline_cli.run_ok("user", "create", ANN, "--no-password")
    assert "already" in offline_cli.run_error("user", "create", ANN.upper())
    assert "already" in offline_cli.run_error("user", "create", "ann@else", "--username", "ann")


@pytest.mark.parametrize(
    "command",
    [["list"], ["disable", ANN], ["enable", ANN], ["reset-password", ANN]],
    ids=" ".join,
)
def test_a_missing_data_directory_is_reported_and_not_created(
    offline_cli: OfflineCli, command: list[str]
) -> None:
    shutil.rmtree(offline_cli.data_dir)
    assert "does not exist. Change to the directory" in offline_cli.run_error("user", *command)
    assert not offline_cli.data_dir.exists()


def test_a_running_server_rejects_tokens_of_a_disabled_user_within_5_seconds(
    offline_cli: OfflineCli, shared_server: Server
) -> None:
    offline_cli = OfflineCli(shared_server.data_dir)
    email = f"{token_hex(4)}@example.com"
    offline_cli.run_ok("user", "create", email, "--no-password", "--team", "default")
    token = offline_cli.run_ok("token", "create", "--user", email).strip()

    def status() -> int:
        return shared_server.request("GET", "/v8/artifacts/status", token=token).status_code

    assert status() == 200
    offline_cli.run_ok("user", "disable", email)
    eventually(lambda: status() == 401, 5)
    offline_cli.run_ok("user", "enable", email)
    eventually(lambda: status() == 200, 5)
