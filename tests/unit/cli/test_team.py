"""`hitrate team`: switches, people, limits, money and the log."""

import json
from typing import Any

import pytest

from hitrate.roles import Role
from tests.support.offline_cli import Desk

ANN, BOB = "ann@example.com", "bob@example.com"
HUGE = "9" * 400


@pytest.fixture
def team_desk(desk: Desk) -> Desk:
    """With a team `web`, its owner Ann, and Bob beside it."""
    for email in (ANN, BOB):
        desk.ok("user", "create", email, "--no-password")
    desk.ok("team", "create", "web", "--name", "Web people", "--owner", ANN)
    return desk


def roles(desk: Desk) -> dict[str, str]:
    return {m["email"]: m["role"] for m in desk.json("team", "members", "web")["members"]}


def test_a_team_is_made_with_its_owner_and_listed_with_its_state(team_desk: Desk) -> None:
    assert roles(team_desk) == {ANN: "OWNER"}
    [row] = team_desk.json("team", "list")
    assert (row["slug"], row["name"], row["state"]) == ("web", "Web people", "active")
    assert "hitrate token create --team ops" in team_desk.ok("team", "create", "ops")


def test_an_unknown_owner_makes_no_team(desk: Desk) -> None:
    assert f"There is no user '{ANN}'" in desk.refused("team", "create", "web", "--owner", ANN)
    assert desk.json("team", "list") == []


def test_people_come_change_and_go(team_desk: Desk) -> None:
    done = team_desk.run("team", "add", "web", BOB, "--role", "viewer")
    assert done.err == f"{BOB} is in web as VIEWER.\n"
    team_desk.ok("team", "change", "web", BOB, "--role", "OWNER", "--remote-caching", "off")
    [_, bob] = team_desk.json("team", "members", "web")["members"]
    assert (bob["role"], bob["remoteCaching"]) == (Role.OWNER, False)
    assert "off" in team_desk.ok("team", "members", "web")
    team_desk.ok("team", "remove", "web", ANN)
    assert roles(team_desk) == {BOB: "OWNER"}


def test_the_last_owner_stays_also_for_the_operator(team_desk: Desk) -> None:
    for command in (["change", "web", ANN, "--role", "MEMBER"], ["remove", "web", ANN]):
        assert "last owner" in team_desk.refused("team", *command)
    assert roles(team_desk) == {ANN: "OWNER"}


def test_switches_are_set_and_shown(team_desk: Desk) -> None:
    changed = team_desk.json(
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
    assert team_desk.json("team", "set", "web") == changed
    opened = team_desk.json(
        "team", "set", "web", "--remote-caching", "on", "--requests-per-minute", "none"
    )
    assert (opened["state"], opened["requestsPerMinute"]) == ("active", None)


def test_limits_prices_and_cap_are_set_and_shown(team_desk: Desk) -> None:
    shown = team_desk.json(
        "team", "limit", "web", "--downloaded-bytes", "200GB", "--requests", "5000", "--events", "0"
    )
    assert shown["limits"] == {
        "uploadedBytes": None, "downloadedBytes": 200 * 10**9, "requests": 5000, "events": 0,
        "storedBytes": None,
    }  # fmt: skip
    assert shown["state"] == "over_limit"
    shown = team_desk.json("team", "limit", "web", "--events", "none")
    assert (shown["limits"]["events"], shown["limits"]["requests"]) == (None, 5000)
    shown = team_desk.json(
        "team", "billing", "web", "--currency", "eur", "--spend-cap", "100",
        "--price-stored-gb", "0.02", "--cycle-day", "31",
    )  # fmt: skip
    assert (shown["currency"], shown["spendCap"], shown["cycle"]["day"]) == ("EUR", "100.00", 31)
    assert shown["prices"]["storedGb"] == "0.02"
    assert team_desk.json("team", "billing", "web", "--spend-cap", "none")["spendCap"] is None
    assert "EUR" in team_desk.ok("team", "billing", "web")


def test_the_operator_blocks_and_notes_payments(team_desk: Desk) -> None:
    for begin, state, end in (
        (["block", "web"], "soft_blocked", ["unblock", "web"]),
        (["payment", "web", "missing"], "payment_missing", ["payment", "web", "received"]),
    ):
        assert state in team_desk.ok("team", *begin)
        assert team_desk.json("team", "list")[0]["state"] == state
        team_desk.ok("team", *end)
        assert team_desk.json("team", "list")[0]["state"] == "active"


@pytest.mark.parametrize(
    ("command", "words"),
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
def test_what_cannot_be_is_said_in_a_line_and_changes_nothing(
    team_desk: Desk, command: list[str], words: str
) -> None:
    before = team_desk.json("team", "billing", "web"), team_desk.json("team", "set", "web")
    line = team_desk.refused("team", *command)
    assert words in line
    assert "$." not in line
    assert len(line) < 300
    assert (
        team_desk.json("team", "billing", "web"),
        team_desk.json("team", "set", "web"),
    ) == before
    assert roles(team_desk) == {ANN: "OWNER"}


SLUG_COMMANDS = [
    ["set"], ["members"], ["add", "{}", ANN], ["change", "{}", ANN, "--role", "OWNER"],
    ["remove", "{}", ANN], ["limit"], ["billing"], ["block"], ["unblock"],
    ["payment", "{}", "missing"], ["usage"], ["audit"],
]  # fmt: skip


@pytest.mark.parametrize("command", SLUG_COMMANDS, ids=lambda command: command[0])
def test_an_unknown_team_is_said_with_those_there_are(team_desk: Desk, command: list[str]) -> None:
    whole = [*command[:1], "nobodys", *command[2:]]
    assert "There is no team 'nobodys' (teams: web)" in team_desk.refused("team", *whole)
    bytes_ = [*command[:1], "\udcff", *command[2:]]
    assert "not text in UTF-8" in team_desk.refused("team", *bytes_)
    team_desk.folder.rename(team_desk.folder.with_name("elsewhere"))
    assert "There is no data folder" in team_desk.refused("team", *whole)


def test_a_settings_value_that_we_do_not_know_is_no_traceback(team_desk: Desk) -> None:
    engine = team_desk.accounts().teams._engine
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE teams SET settings = '{\"spendCap\": -1}'")
    engine.dispose()
    assert "spendCap" in team_desk.refused("team", "list")


def test_use_is_shown_with_what_is_left(team_desk: Desk) -> None:
    team_desk.ok("team", "limit", "web", "--requests", "10")
    usage = team_desk.json("team", "usage", "web")
    assert (usage["current"]["left"]["requests"], usage["past"]) == (10, [])
    assert "web: active; cycle from " in team_desk.ok("team", "usage", "web")


def test_the_log_is_shown_as_table_json_lines_and_csv(team_desk: Desk) -> None:
    team_desk.ok("token", "create", "--team", "web", "--label", "=ci")
    entries = json.loads(team_desk.ok("team", "audit", "web", "--format", "json"))["entries"]
    assert [e["action"] for e in entries] == ["token.create", "member.add", "team.create"]
    assert {e["actor"] for e in entries} == {"operator"}
    for form, count in (("ndjson", 3), ("csv", 4)):
        assert len(team_desk.ok("team", "audit", "web", "--format", form).splitlines()) == count
    assert "token.create" in team_desk.ok("team", "audit", "web", "--limit", "1")
    assert "member.add" not in team_desk.ok("team", "audit", "web", "--limit", "1")


def test_the_log_of_all_has_people_too(team_desk: Desk) -> None:
    entries: list[dict[str, Any]] = json.loads(team_desk.ok("team", "audit", "--format", "json"))[
        "entries"
    ]
    assert [e["action"] for e in entries].count("user.create") == 2


def test_a_token_that_is_called_operator_is_not_shown_as_one(team_desk: Desk) -> None:
    accounts = team_desk.accounts()
    [team] = accounts.teams.all()
    token, _ = accounts.tokens.create(team, "operator")
    accounts.teams.rename(team, "Renamed", token.actor)
    row = next(r for r in team_desk.ok("team", "audit", "web").splitlines() if "rename" in r)
    assert f"token {token.id} operator" in row


@pytest.mark.parametrize("name", ["[/]", "[red]x", ":smile:", "[link=http://evil]x[/link]", "\\["])
def test_a_name_is_shown_as_it_is_and_not_as_markup(team_desk: Desk, name: str) -> None:
    team_desk.ok("team", "set", "web", "--name", name)
    team_desk.ok("token", "create", "--team", "web", "--label", name)
    for command in (["team", "list"], ["team", "set", "web"], ["token", "list"]):
        assert name in team_desk.ok(*command), command
    assert name.replace("\\", "\\\\") in team_desk.ok("team", "audit", "web")
