"""`hitrate token`: made, rotated, revoked, listed; its secret shown once and kept nowhere."""

import shutil

import pytest

from hitrate.auth import token_secrets
from tests.support.offline_cli import Desk
from tests.support.server import Server, eventually

ANN = "ann@example.com"
SCOPES = ["admin", "analytics", "events", "read", "write"]


@pytest.fixture
def token_desk(desk: Desk) -> Desk:
    """With a team `web`, Ann who is in it, and Bob who is not."""
    desk.ok("team", "create", "web")
    desk.ok("user", "create", ANN, "--no-password", "--team", "web")
    desk.ok("user", "create", "bob@example.com", "--no-password")
    return desk


def test_a_secret_is_printed_alone_once_and_kept_nowhere(token_desk: Desk) -> None:
    secret = token_desk.ok("token", "create", "--team", "web")
    assert token_secrets.well_formed(secret.strip().encode())
    [row] = token_desk.json("token", "list")
    new = token_desk.ok("token", "rotate", row["id"])
    token_desk.ok("token", "revoke", row["id"])
    shown = token_desk.ok("token", "list") + token_desk.ok("team", "audit")
    shown += token_desk.ok("team", "audit", "--format", "csv")
    for one in (secret.strip(), new.strip()):
        assert one not in shown
        assert one.encode() not in token_desk.files()


def test_a_token_is_of_a_team_of_a_person_or_the_operators(token_desk: Desk) -> None:
    for options in (
        ["--team", "web"],
        ["--user", ANN],
        ["--team", "web", "--user", ANN.upper()],
        ["--operator"],
    ):
        token_desk.ok("token", "create", *options)
    rows = token_desk.json("token", "list")
    assert [(row["team"], row["user"]) for row in rows] == [
        ("web", None),
        (None, ANN),
        ("web", ANN),
        (None, None),
    ]
    assert [row["id"] for row in token_desk.json("token", "list", "--team", "web")] == [
        rows[0]["id"]
    ]
    assert [row["id"] for row in token_desk.json("token", "list", "--user", ANN)] == [
        rows[1]["id"],
        rows[2]["id"],
    ]


def test_scopes_are_all_but_admin_or_those_that_are_named(token_desk: Desk) -> None:
    for options, scopes in (
        ([], ["analytics", "events", "read", "write"]),
        (["--read-only"], ["analytics", "events", "read"]),
        (["--scopes", "read"], ["read"]),
        (["--scopes", " admin , read,write,events,analytics"], SCOPES),
    ):
        made = token_desk.json("token", "create", "--team", "web", *options)
        assert made["scopes"] == scopes


def test_as_json_everything_is_shown_with_the_secret(token_desk: Desk) -> None:
    made = token_desk.json("token", "create", "--team", "web", "--label", "ci", "--expires", "30d")
    assert token_secrets.well_formed(made["token"].encode())
    assert (made["label"], made["state"], made["lastUsedAt"]) == ("ci", "valid", None)
    assert made["expiresAt"] > made["createdAt"]
    rotated = token_desk.json("token", "rotate", made["id"], "--overlap", "0s")
    assert (rotated["label"], rotated["state"]) == ("ci", "valid")
    states = {row["id"]: row["state"] for row in token_desk.json("token", "list")}
    assert states == {made["id"]: "expired", rotated["id"]: "valid"}
    token_desk.ok("token", "revoke", rotated["id"])
    assert token_desk.json("token", "list")[1]["state"] == "revoked"


def test_a_token_is_rotated_once(token_desk: Desk) -> None:
    made = token_desk.json("token", "create", "--team", "web")
    token_desk.ok("token", "rotate", made["id"])
    assert "rotated before" in token_desk.refused("token", "rotate", made["id"])
    token_desk.ok("token", "revoke", made["id"])
    assert "create a new one" in token_desk.refused("token", "rotate", made["id"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Name --team, --user or both; or --operator alone."),
        (["--operator", "--team", "web"], "--operator alone"),
        (["--operator", "--scopes", "read"], "has no scopes"),
        (["--operator", "--read-only"], "has no scopes"),
        (["--team", "nobodys"], "There is no team 'nobodys' (teams: web)"),
        (["--user", "nobody@x"], "There is no user 'nobody@x'"),
        (["--user", "nobody"], "not an email address"),
        (["--team", "web", "--user", "bob@example.com"], "`hitrate team add web bob@example.com`"),
        (["--team", "web", "--scopes", "read,root"], "--scopes has 'root'; it takes any of read"),
        (["--team", "web", "--scopes", ""], "--scopes has ''"),
        (["--team", "web", "--scopes", "READ"], "--scopes has 'READ'"),
        (["--team", "web", "--scopes", "read", "--read-only"], "not both"),
        (["--team", "web", "--expires", "-5s"], "--expires is '-5s'; it takes a duration"),
        (["--team", "web", "--expires", "2020-01-01"], "--expires is '2020-01-01'"),
        (["--team", "web", "--expires", ""], "--expires is ''"),
        (["--team", "web", "--expires", "200000d"], "at most 100 years"),
        (["--team", "web", "--expires", "9" * 400], "at most 100 years"),
        (["--team", "web", "--label", "a\nb"], "200 printable characters"),
        (["--team", "web", "--label", "\udcff"], "200 printable characters"),
        (["--team", "\udcff"], "UTF-8"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said_in_a_line_and_makes_nothing(
    token_desk: Desk, options: list[str], words: str
) -> None:
    line = token_desk.refused("token", "create", *options)
    assert words in line
    assert len(line) < 300
    assert token_desk.json("token", "list") == []


@pytest.mark.parametrize("token_id", ["tok_none", "", "' OR 1=1 --", "x" * 5000])
def test_an_unknown_token_is_said(token_desk: Desk, token_id: str) -> None:
    token_desk.ok("token", "create", "--team", "web")
    for command in ("revoke", "rotate"):
        line = token_desk.refused("token", command, token_id)
        assert "There is no token" in line
        assert len(line) < 200
    assert "--overlap is 'soon'" in token_desk.refused(
        "token", "rotate", "tok_none", "--overlap", "soon"
    )
    assert token_desk.json("token", "list")[0]["state"] == "valid"


@pytest.mark.parametrize(
    "command",
    [["create", "--team", "web"], ["list"], ["revoke", "tok_x"], ["rotate", "tok_x"]],
    ids=lambda command: command[0],
)
def test_where_there_is_no_data_folder_it_is_said(desk: Desk, command: list[str]) -> None:
    shutil.rmtree(desk.folder)
    assert "There is no data folder" in desk.refused("token", *command)
    assert not desk.folder.exists()


def test_a_running_server_knows_a_rotation_at_once_and_a_revocation_within_five_seconds(
    desk: Desk, shared_server: Server
) -> None:
    desk = desk.at(shared_server.data_dir)
    old = desk.json("token", "create", "--team", "default")
    new = desk.json("token", "rotate", old["id"])

    def status(secret: str) -> int:
        return shared_server.request("GET", "/v8/artifacts/status", token=secret).status_code

    assert [status(secret) for secret in (old["token"], new["token"])] == [200, 200]
    desk.ok("token", "revoke", old["id"])
    eventually(lambda: status(old["token"]) == 401, 5)
    assert status(new["token"]) == 200


def test_the_last_use_is_shown_once_the_server_has_written_it(desk: Desk, server: Server) -> None:
    desk = desk.at(server.data_dir)
    token = desk.ok("token", "create", "--team", "default").strip()
    server.request("GET", "/v8/artifacts/status", token=token)
    server.stop()
    rows = desk.json("token", "list")
    assert [row["lastUsedAt"] is None for row in rows] == [True, False]
