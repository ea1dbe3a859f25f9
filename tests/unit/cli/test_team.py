"""`hitrate team`: settings, members, limits, billing and the audit log."""

import json
from typing import Any

import pytest

from hitrate.roles import Role
from tests.support.offline_cli import OfflineCli

ANN, BOB = "ann@example.com", "bob@example.com"
HUGE = "9" * 400


@pytest.fixture
def team_cli(offline_cli: OfflineCli) -> OfflineCli:
    """The command line, a team `web`, its owner Ann, and Bob, who is not a member."""
    for email in (ANN, BOB):
        offline_cli.run_ok("user", "create", email, "--no-password")
    offline_cli.run_ok("team", "create", "web", "--name", "Web team", "--owner", ANN)
    return offline_cli


def roles_by_email(offline_cli: OfflineCli) -> dict[str, str]:
    return {
        member["email"]: member["role"]
        for member in offline_cli.run_json("team", "members", "web")["members"]
    }


def test_create_adds_the_owner_and_list_shows_the_state(team_cli: OfflineCli) -> None:
    assert roles_by_email(team_cli) == {ANN: "OWNER"}
    [row] = team_cli.run_json("team", "list")
    assert (row["slug"], row["name"], row["state"]) == ("web", "Web team", "active")
    assert "hitrate token create --team ops" in team_cli.run_ok("team", "create", "ops")


def test_create_with_an_unknown_owner_creates_no_team(offline_cli: OfflineCli) -> None:
    assert f"There is no user '{ANN}'" in offline_cli.run_error(
        "team", "create", "web", "--owner", ANN
    )
    assert offline_cli.run_json("team", "list") == []


def test_members_are_added_changed_and_removed(team_cli: OfflineCli) -> None:
    done = team_cli.run("team", "add", "web", BOB, "--role", "viewer")
    assert done.stderr == f"Added {BOB} to web as VIEWER.\n"
    team_cli.run_ok("team", "change", "web", BOB, "--role", "OWNER", "--remote-caching", "off")
    [_, bob] = team_cli.run_json("team", "members", "web")["members"]
    assert (bob["role"], bob["remoteCaching"]) == (Role.OWNER, False)
    assert "off" in team_cli.run_ok("team", "members", "web")
    team_cli.run_ok("team", "remove", "web", ANN)
    assert roles_by_email(team_cli) == {BOB: "OWNER"}


def test_the_operator_cannot_remove_or_demote_the_last_owner(team_cli: OfflineCli) -> None:
    for command in (["change", "web", ANN, "--role", "MEMBER"], ["remove", "web", ANN]):
        assert "last owner" in team_cli.run_error("team", *command)
    assert roles_by_email(team_cli) == {ANN: "OWNER"}


def test_set_changes_and_shows_settings(team_cli: OfflineCli) -> None:
    changed = team_cli.run_json(
        "team",
        "set",
        "web",
        "--name",
        "W",
        "--remote-caching",
        "off",
        "--requests-per-minute",
        "60",
    )
    assert changed == {
        "name": "W", "remoteCaching": False, "requestsPerMinute": 60, "state": "disabled",
        "status": "disabled",
    }  # fmt: skip
    assert team_cli.run_json("team", "set", "web") == changed
    assert "remoteCaching      off\n" in team_cli.run_ok("team", "set", "web")
    enabled = team_cli.run_json(
        "team", "set", "web", "--remote-caching", "on", "--requests-per-minute", "none"
    )
    assert (enabled["state"], enabled["requestsPerMinute"]) == ("active", None)


def test_limit_and_billing_change_and_show_limits_prices_and_spend_cap(
    team_cli: OfflineCli,
) -> None:
    response = team_cli.run_json(
        "team", "limit", "web", "--downloaded-bytes", "200GB", "--requests", "5000", "--events", "0"
    )
    assert response["limits"] == {
        "uploadedBytes": None, "downloadedBytes": 200 * 10**9, "requests": 5000, "events": 0,
        "storedBytes": None,
    }  # fmt: skip
    assert response["state"] == "over_limit"
    response = team_cli.run_json("team", "limit", "web", "--events", "none")
    assert (response["limits"]["events"], response["limits"]["requests"]) == (None, 5000)
    response = team_cli.run_json(
        "team", "billing", "web", "--currency", "eur", "--spend-cap", "100",
        "--price-stored-gb", "0.02", "--cycle-day", "31",
    )  # fmt: skip
    assert (response["currency"], response["spendCap"], response["cycle"]["day"]) == (
        "EUR",
        "100.00",
        31,
    )
    assert response["prices"]["storedGb"] == "0.02"
    assert team_cli.run_json("team", "billing", "web", "--spend-cap", "none")["spendCap"] is None
    assert "EUR" in team_cli.run_ok("team", "billing", "web")


def test_block_and_payment_change_the_state_and_can_be_undone(team_cli: OfflineCli) -> None:
    for command, state, undo_command in (
        (["block", "web"], "soft_blocked", ["unblock", "web"]),
        (["payment", "web", "missing"], "payment_missing", ["payment", "web", "received"]),
    ):
        assert state in team_cli.run_ok("team", *command)
        assert team_cli.run_json("team", "list")[0]["state"] == state
        team_cli.run_ok("team", *undo_command)
        assert team_cli.run_json("team", "list")[0]["state"] == "active"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["limit", "web", "--requests", "-5"], "--requests is '-5'; it takes a whole number"),
        (["limit", "web", "--requests", "1.5"], "--requests is '1.5'"),
        (["limit", "web", "--requests", "200GB"], "--requests is '200GB'"),
        (["limit", "web", "--events", HUGE], "--events is '9999"),
        (["limit", "web", "--stored-bytes", "200XB"], "--stored-bytes is '200XB'"),
        (["limit", "web", "--stored-bytes", "-1"], "--stored-bytes is '-1'"),
        (["limit", "web", "--uploaded-bytes", "9999999999TB"], "it takes at most 46116"),
        (["limit", "web", "--uploaded-bytes", HUGE], "it takes at most 46116"),
        (["set", "web", "--requests-per-minute", "many"], "--requests-per-minute is 'many'"),
        (["set", "web", "--requests-per-minute", "-1"], "--requests-per-minute is '-1'"),
        (["set", "web", "--requests-per-minute", str(2**62 + 1)], "from 0 to 46116"),
        (["set", "web", "--requests-per-minute", "9" * 5000], "from 0 to 46116"),
        (["set", "web", "--requests-per-minute", "²"], "--requests-per-minute is"),
        (["set", "web", "--name", ""], "1 to 100 printable"),
        (["set", "web", "--name", "x" * 101], "1 to 100 printable"),
        (["set", "web", "--remote-caching", "maybe"], "'maybe' is not one of"),
        (["billing", "web", "--spend-cap", "ten"], "--spend-cap is 'ten'"),
        (["billing", "web", "--spend-cap", "-5"], "--spend-cap is -5"),
        (["billing", "web", "--spend-cap", "1e400"], "--spend-cap is 1e400"),
        (["billing", "web", "--spend-cap", "nan"], "--spend-cap is 'nan'"),
        (["billing", "web", "--price-stored-gb", "free"], "--price-stored-gb is 'free'"),
        (["billing", "web", "--price-million-events", "-1"], "--price-million-events is -1"),
        (["billing", "web", "--price-uploaded-gb", "0.1234567"], "at most six decimals"),
        (["billing", "web", "--currency", "euro"], "--currency is 'EURO'"),
        (["billing", "web", "--cycle-day", "32"], "'--cycle-day'"),
        (["payment", "web", "maybe"], "'maybe' is not one of"),
        (["change", "web", ANN], "--role, --remote-caching or both"),
        (["change", "web", BOB, "--role", "OWNER"], "is in the team web"),
        (["remove", "web", BOB], "is in the team web"),
        (["add", "web", ANN], f"{ANN} is in the team web already"),
        (["add", "web", "nobody@x"], "There is no user 'nobody@x'"),
        (["create", "web"], "There is a team 'web' already"),
        (["audit", "web", "--format", "xml"], "'xml' is not one of"),
        (["audit", "web", "--limit", "0"], "'--limit'"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_invalid_arguments_are_reported_in_one_line_and_change_nothing(
    team_cli: OfflineCli, command: list[str], message: str
) -> None:
    before = team_cli.run_json("team", "billing", "web"), team_cli.run_json("team", "set", "web")
    line = team_cli.run_error("team", *command)
    assert message in line
    assert "$." not in line
    assert len(line) < 300
    assert (
        team_cli.run_json("team", "billing", "web"),
        team_cli.run_json("team", "set", "web"),
    ) == before
    assert roles_by_email(team_cli) == {ANN: "OWNER"}


SLUG_COMMANDS = [
    ["set"], ["members"], ["add", "{}", ANN], ["change", "{}", ANN, "--role", "OWNER"],
    ["remove", "{}", ANN], ["limit"], ["billing"], ["block"], ["unblock"],
    ["payment", "{}", "missing"], ["usage"], ["audit"],
]  # fmt: skip


@pytest.mark.parametrize("command", SLUG_COMMANDS, ids=lambda command: command[0])
def test_an_unknown_team_is_reported_with_the_existing_ones(
    team_cli: OfflineCli, command: list[str]
) -> None:
    arguments = [*command[:1], "unknown-team", *command[2:]]
    assert "There is no team 'unknown-team' (teams: web)" in team_cli.run_error("team", *arguments)
    invalid_text = [*command[:1], "\udcff", *command[2:]]
    assert "not valid UTF-8" in team_cli.run_error("team", *invalid_text)
    team_cli.data_dir.rename(team_cli.data_dir.with_name("elsewhere"))
    assert "does not exist. Change to the directory" in team_cli.run_error("team", *arguments)


def test_an_invalid_settings_value_in_the_database_is_reported_in_one_line(
    team_cli: OfflineCli,
) -> None:
    engine = team_cli.accounts().teams._engine
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE teams SET settings = '{\"spendCap\": -1}'")
    engine.dispose()
    assert "spendCap" in team_cli.run_error("team", "list")


def test_usage_shows_the_remaining_amount_of_a_limit(team_cli: OfflineCli) -> None:
    team_cli.run_ok("team", "limit", "web", "--requests", "10")
    usage = team_cli.run_json("team", "usage", "web")
    assert (usage["current"]["remaining"]["requests"], usage["past"]) == (10, [])
    assert "web: active; cycle from " in team_cli.run_ok("team", "usage", "web")


def test_audit_prints_a_table_json_ndjson_or_csv(team_cli: OfflineCli) -> None:
    team_cli.run_ok("token", "create", "--team", "web", "--label", "=ci")
    entries = json.loads(team_cli.run_ok("team", "audit", "web", "--format", "json"))["entries"]
    assert [entry["action"] for entry in entries] == ["token.create", "member.add", "team.create"]
    assert {entry["actor"] for entry in entries} == {"operator"}
    for form, count in (("ndjson", 3), ("csv", 4)):
        assert len(team_cli.run_ok("team", "audit", "web", "--format", form).splitlines()) == count
    assert "token.create" in team_cli.run_ok("team", "audit", "web", "--limit", "1")
    assert "member.add" not in team_cli.run_ok("team", "audit", "web", "--limit", "1")


def test_audit_without_a_team_includes_users(team_cli: OfflineCli) -> None:
    entries: list[dict[str, Any]] = json.loads(
        team_cli.run_ok("team", "audit", "--format", "json")
    )["entries"]
    assert [entry["action"] for entry in entries].count("user.create") == 2


def test_audit_marks_a_token_whose_label_is_operator(team_cli: OfflineCli) -> None:
    accounts = team_cli.accounts()
    [team] = accounts.teams.all()
    token, _ = accounts.tokens.create(team, "operator")
    accounts.teams.rename(team, "Renamed", token.actor)
    row = next(r for r in team_cli.run_ok("team", "audit", "web").splitlines() if "rename" in r)
    assert f"token {token.id} operator" in row


@pytest.mark.parametrize("name", ["[/]", "[red]x", ":smile:", "[link=http://evil]x[/link]", "\\["])
def test_names_with_markup_are_printed_unchanged(team_cli: OfflineCli, name: str) -> None:
    team_cli.run_ok("team", "set", "web", "--name", name)
    team_cli.run_ok("token", "create", "--team", "web", "--label", name)
    for command in (["team", "list"], ["team", "set", "web"], ["token", "list"]):
        assert name in team_cli.run_ok(*command), command
    assert name.replace("\\", "\\\\") in team_cli.run_ok("team", "audit", "web")
