"""`hitrate token`: tokens and their secrets, rotation, revocation, and invalid arguments."""

import shutil

import pytest

from hitrate.auth import tokens
from tests.support.offline_cli import OfflineCli
from tests.support.server import Server, eventually

ANN = "ann@example.com"
SCOPES = ["admin", "analytics", "events", "read", "write"]


@pytest.fixture
def token_cli(offline_cli: OfflineCli) -> OfflineCli:
    """The command line, a team `web`, its member Ann, and Bob, who is not a member."""
    offline_cli.run_ok("team", "create", "web")
    offline_cli.run_ok("user", "create", ANN, "--no-password", "--team", "web")
    offline_cli.run_ok("user", "create", "bob@example.com", "--no-password")
    return offline_cli


def test_a_secret_is_printed_once_and_not_stored(token_cli: OfflineCli) -> None:
    secret = token_cli.run_ok("token", "create", "--team", "web")
    assert tokens.well_formed(secret.strip().encode())
    [row] = token_cli.run_json("token", "list")
    new = token_cli.run_ok("token", "rotate", row["id"])
    token_cli.run_ok("token", "revoke", row["id"])
    output = token_cli.run_ok("token", "list") + token_cli.run_ok("team", "audit")
    output += token_cli.run_ok("team", "audit", "--format", "csv")
    for each in (secret.strip(), new.strip()):
        assert each not in output
        assert each.encode() not in token_cli.file_contents()


def test_create_reports_the_token_on_standard_error(token_cli: OfflineCli) -> None:
    for options, owner in (
        (["--team", "web"], "in web"),
        (["--user", ANN], f"for {ANN}"),
        (["--team", "web", "--user", ANN], f"for {ANN} in web"),
        (["--operator"], "for the operator"),
    ):
        result = token_cli.run("token", "create", *options)
        token_id = token_cli.run_json("token", "list")[-1]["id"]
        assert result.stderr == f"Created {token_id} {owner}.\n"
        assert tokens.well_formed(result.stdout.strip().encode())


def test_a_token_belongs_to_a_team_a_user_or_the_operator(token_cli: OfflineCli) -> None:
    for options in (
        ["--team", "web"],
        ["--user", ANN],
        ["--team", "web", "--user", ANN.upper()],
        ["--operator"],
    ):
        token_cli.run_ok("token", "create", *options)
    rows = token_cli.run_json("token", "list")
    assert [(row["team"], row["user"]) for row in rows] == [
        ("web", None),
        (None, ANN),
        ("web", ANN),
        (None, None),
    ]
    assert [row["id"] for row in token_cli.run_json("token", "list", "--team", "web")] == [
        rows[0]["id"]
    ]
    assert [row["id"] for row in token_cli.run_json("token", "list", "--user", ANN)] == [
        rows[1]["id"],
        rows[2]["id"],
    ]


def test_scopes_are_all_but_admin_unless_options_select_them(token_cli: OfflineCli) -> None:
    for options, scopes in (
        ([], ["analytics", "events", "read", "write"]),
        (["--read-only"], ["analytics", "events", "read"]),
        (["--scopes", "read"], ["read"]),
        (["--scopes", " admin , read,write,events,analytics"], SCOPES),
    ):
        created = token_cli.run_json("token", "create", "--team", "web", *options)
        assert created["scopes"] == scopes


def test_create_and_rotate_as_json_include_the_secret(token_cli: OfflineCli) -> None:
    created = token_cli.run_json(
        "token", "create", "--team", "web", "--label", "ci", "--expires", "30d"
    )
    assert tokens.well_formed(created["token"].encode())
    assert (created["label"], created["state"], created["lastUsedAt"]) == ("ci", "valid", None)
    assert created["expiresAt"] > created["createdAt"]
    rotated = token_cli.run_json("token", "rotate", created["id"], "--overlap", "0s")
    assert (rotated["label"], rotated["state"]) == ("ci", "valid")
    states = {row["id"]: row["state"] for row in token_cli.run_json("token", "list")}
    assert states == {created["id"]: "expired", rotated["id"]: "valid"}
    token_cli.run_ok("token", "revoke", rotated["id"])
    assert token_cli.run_json("token", "list")[1]["state"] == "revoked"


def test_a_rotated_token_cannot_be_rotated_again(token_cli: OfflineCli) -> None:
    created = token_cli.run_json("token", "create", "--team", "web")
    token_cli.run_ok("token", "rotate", created["id"])
    assert "rotated before" in token_cli.run_error("token", "rotate", created["id"])
    token_cli.run_ok("token", "revoke", created["id"])
    assert "create a new one" in token_cli.run_error("token", "rotate", created["id"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Pass --team, --user or both; or --operator alone."),
        (["--operator", "--team", "web"], "--operator alone"),
        (["--operator", "--scopes", "read"], "has no scopes"),
        (["--operator", "--read-only"], "has no scopes"),
        (["--team", "unknown-team"], "There is no team 'unknown-team' (teams: web)"),
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
def test_invalid_options_are_reported_in_one_line_and_create_no_token(
    token_cli: OfflineCli, options: list[str], message: str
) -> None:
    line = token_cli.run_error("token", "create", *options)
    assert message in line
    assert len(line) < 300
    assert token_cli.run_json("token", "list") == []


@pytest.mark.parametrize("token_id", ["tok_none", "", "' OR 1=1 --", "x" * 5000])
def test_an_unknown_token_is_reported(token_cli: OfflineCli, token_id: str) -> None:
    token_cli.run_ok("token", "create", "--team", "web")
    for command in ("revoke", "rotate"):
        line = token_cli.run_error("token", command, token_id)
        assert "There is no token" in line
        assert len(line) < 200
    assert "--overlap is 'soon'" in token_cli.run_error(
        "token", "rotate", "tok_none", "--overlap", "soon"
    )
    assert token_cli.run_json("token", "list")[0]["state"] == "valid"


@pytest.mark.parametrize(
    "command",
    [["create", "--team", "web"], ["list"], ["revoke", "tok_x"], ["rotate", "tok_x"]],
    ids=lambda command: command[0],
)
def test_a_missing_data_directory_is_reported_and_not_created(
    offline_cli: OfflineCli, command: list[str]
) -> None:
    shutil.rmtree(offline_cli.data_dir)
    assert "does not exist. Change to the directory" in offline_cli.run_error("token", *command)
    assert not offline_cli.data_dir.exists()


def test_a_running_server_applies_rotation_immediately_and_revocation_within_5_seconds(
    offline_cli: OfflineCli, shared_server: Server
) -> None:
    offline_cli = OfflineCli(shared_server.data_dir)
    old = offline_cli.run_json("token", "create", "--team", "default")
    new = offline_cli.run_json("token", "rotate", old["id"])

    def status(secret: str) -> int:
        return shared_server.request("GET", "/v8/artifacts/status", token=secret).status_code

    assert [status(secret) for secret in (old["token"], new["token"])] == [200, 200]
    offline_cli.run_ok("token", "revoke", old["id"])
    eventually(lambda: status(old["token"]) == 401, 5)
    assert status(new["token"]) == 200


def test_list_shows_the_last_use_after_the_server_has_stopped(
    offline_cli: OfflineCli, server: Server
) -> None:
    offline_cli = OfflineCli(server.data_dir)
    token = offline_cli.run_ok("token", "create", "--team", "default").strip()
    server.request("GET", "/v8/artifacts/status", token=token)
    server.stop()
    rows = offline_cli.run_json("token", "list")
    assert [row["lastUsedAt"] is None for row in rows] == [True, False]
