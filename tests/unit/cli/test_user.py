"""`hitrate user`: what it makes, prints once, and refuses."""

import shutil
from secrets import token_hex

import pytest

from hitrate.roles import Role
from tests.support.offline_cli import Desk
from tests.support.server import Server, eventually

ANN = "ann@example.com"


def signs_in(desk: Desk, password: str, email: str = ANN) -> bool:
    return desk.accounts().users.authenticate(email, password) is not None


def test_a_person_is_made_and_their_password_printed_alone_and_once(desk: Desk) -> None:
    done = desk.run("user", "create", "Ann@Example.com", "--name", "Ann Lee")
    [password] = done.out.split()
    assert done.out == f"{password}\n"
    assert len(password) >= 20
    assert f"{ANN} (usr_" in done.err
    assert password not in done.err
    assert signs_in(desk, password)
    assert password not in desk.ok("user", "list")
    assert password.encode() not in desk.files()


def test_a_password_may_be_typed_and_is_then_not_printed(desk: Desk) -> None:
    typed = "pass wörd with spaces ".encode()
    assert desk.ok("user", "create", ANN, "--password-stdin", typed=typed + b"\n") == ""
    assert signs_in(desk, typed.decode())
    assert (
        desk.ok("user", "reset-password", ANN, "--password-stdin", typed=b"another one\r\n") == ""
    )
    assert signs_in(desk, "another one")
    assert not signs_in(desk, typed.decode())
    for secret in (typed, b"another one"):
        assert secret not in desk.files()


@pytest.mark.parametrize("typed", [b"", b"\n", b"short\n", b"x" * 2000, b"\xff\xfe23456789abc\n"])
def test_a_password_that_cannot_be_is_refused_and_not_repeated(desk: Desk, typed: bytes) -> None:
    line = desk.refused("user", "create", ANN, "--password-stdin", typed=typed)
    assert "10 to 1024 characters" in line or "UTF-8" in line
    assert "short" not in line
    assert desk.json("user", "list") == []


def test_without_a_password_they_sign_in_elsewhere(desk: Desk) -> None:
    assert desk.ok("user", "create", ANN, "--no-password") == ""
    [row] = desk.json("user", "list")
    assert (row["email"], row["signsInBy"], row["state"]) == (ANN, "identity provider", "active")
    both = ("--no-password", "--password-stdin")
    assert "not both" in desk.refused("user", "create", "bob@example.com", *both)
    assert signs_in(desk, desk.ok("user", "reset-password", ANN).strip())


def test_a_person_joins_a_team_in_a_role(desk: Desk) -> None:
    desk.ok("team", "create", "web")
    desk.ok("user", "create", ANN, "--team", "web", "--role", "owner", "--username", "ann.l")
    desk.ok("user", "create", "bob@example.com", "--team", "web")
    rows = desk.json("user", "list")
    assert [(row["username"], row["teams"]) for row in rows] == [
        ("ann.l", {"web": "OWNER"}),
        ("bob", {"web": "DEVELOPER"}),
    ]
    assert "web: OWNER" in desk.ok("user", "list")


def test_as_json_a_person_is_shown_with_the_password_that_was_made(desk: Desk) -> None:
    made = desk.json("user", "create", ANN)
    assert set(made) == {"id", "email", "username", "name", "password"}
    assert signs_in(desk, made["password"])
    assert set(desk.json("user", "create", "b@x", "--no-password")) == set(made) - {"password"}


def test_a_new_password_is_printed_alone(desk: Desk) -> None:
    first = desk.ok("user", "create", ANN).strip()
    done = desk.run("user", "reset-password", ANN.upper())
    assert done.err == f"{ANN} has a new password.\n"
    assert signs_in(desk, done.out.strip())
    assert not signs_in(desk, first)


def test_disabling_says_which_teams_are_left_without_an_owner(desk: Desk) -> None:
    desk.ok("team", "create", "web")
    desk.ok("user", "create", ANN, "--no-password", "--team", "web", "--role", "OWNER")
    desk.ok("user", "create", "bob@x", "--no-password", "--team", "web", "--role", "OWNER")
    assert desk.run("user", "disable", "bob@x").err == "bob@x is disabled.\n"
    done = desk.run("user", "disable", ANN)
    assert done.err == f"{ANN} is disabled.\nNo owner who can act is left in: web.\n"
    assert {row["state"] for row in desk.json("user", "list")} == {"disabled"}
    assert desk.run("user", "enable", ANN).err == f"{ANN} is enabled.\n"
    assert desk.run("user", "enable", ANN).code == 0
    team = desk.accounts().teams.find(slug="web")
    assert team is not None
    assert [m.role for m in desk.accounts().members.list_for_team(team)] == [Role.OWNER, Role.OWNER]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["create", "ann"], "not an email address"),
        (["create", "a b@x"], "not an email address"),
        (["create", "a\x1b[31m@x"], "'a\\x1b[31m@x' is not"),
        (["create", "a\udcff@x"], "'a\\udcff@x' is not"),
        (["create", ANN, "--team", "nobodys"], "There is no team 'nobodys' (teams: none yet)"),
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
def test_what_cannot_be_is_said_in_a_line(desk: Desk, command: list[str], words: str) -> None:
    assert words in desk.refused("user", *command)
    assert desk.json("user", "list") == []


def test_an_address_or_username_that_is_taken_is_said(desk: Desk) -> None:
    desk.ok("user", "create", ANN, "--no-password")
    assert "already" in desk.refused("user", "create", ANN.upper())
    assert "already" in desk.refused("user", "create", "ann@else", "--username", "ann")


@pytest.mark.parametrize(
    "command",
    [["list"], ["disable", ANN], ["enable", ANN], ["reset-password", ANN]],
    ids=" ".join,
)
def test_where_there_is_no_data_folder_it_is_said(desk: Desk, command: list[str]) -> None:
    shutil.rmtree(desk.folder)
    assert "There is no data folder" in desk.refused("user", *command)
    assert not desk.folder.exists()


def test_a_disabled_persons_token_is_refused_by_the_running_server_within_five_seconds(
    desk: Desk, shared_server: Server
) -> None:
    desk = desk.at(shared_server.data_dir)
    email = f"{token_hex(4)}@example.com"
    desk.ok("user", "create", email, "--no-password", "--team", "default")
    token = desk.ok("token", "create", "--user", email).strip()

    def status() -> int:
        return shared_server.request("GET", "/v8/artifacts/status", token=token).status_code

    assert status() == 200
    desk.ok("user", "disable", email)
    eventually(lambda: status() == 401, 5)
    desk.ok("user", "enable", email)
    eventually(lambda: status() == 200, 5)
