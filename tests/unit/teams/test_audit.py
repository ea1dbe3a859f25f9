"""The audit log: completeness, order, immutability and export."""

import csv
import io
import json
from collections.abc import Callable
from functools import partial

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from hitrate.db.tables import AUDIT
from hitrate.roles import Role
from hitrate.teams.audit import AuditEntry, as_csv, as_ndjson, record
from hitrate.teams.models import OPERATOR, Actor
from tests.support.account_fixture import AccountFixture

ANN = Actor("user", "usr_ann", "ann@example.com")
DISABLE_CACHING = partial(msgspec.structs.replace, remote_caching=False)
SOFT_BLOCK = partial(msgspec.structs.replace, soft_blocked=True)


def record_entries(
    account_fixture: AccountFixture,
    count: int,
    action: str = "test.create",
    team_id: str | None = None,
) -> None:
    with account_fixture.engine.begin() as connection:
        for number in range(count):
            record(
                connection, account_fixture.manual_clock.value_ms, ANN, action, team_id, f"{number}"
            )


def targets(entries: list[AuditEntry]) -> list[str]:
    return [entry.target for entry in entries]


def test_every_kind_of_change_is_recorded_with_its_actor(
    account_fixture: AccountFixture,
) -> None:
    accounts, team = account_fixture.accounts, account_fixture.create_team()
    user = account_fixture.create_user()
    accounts.members.add(team, user, Role.OWNER, ANN)
    accounts.members.change(team, user.id, ANN, remote_caching=False)
    token, _ = accounts.tokens.create(team, "ci", actor=ANN)
    new, _ = accounts.tokens.rotate(token, 60, ANN)
    accounts.tokens.revoke(new, ANN)
    accounts.teams.rename(team, "Ours", ANN)
    accounts.teams.change(team, DISABLE_CACHING, ANN, "settings.change")
    accounts.teams.change(team, SOFT_BLOCK, ANN, "billing.change")
    accounts.members.add(team, account_fixture.create_user(), Role.OWNER, ANN)
    accounts.members.remove(team, user.id, ANN)
    assert account_fixture.audit_actions(team) == [
        "team.create", "member.add", "member.change", "token.create", "token.rotate",
        "token.revoke", "team.rename", "settings.change", "billing.change", "member.add",
        "member.remove",
    ]  # fmt: skip
    assert {e.actor_id for e in accounts.audit.page(team.id, 10)} == {"usr_ann"}
    assert {e.at_ms for e in accounts.audit.page(team.id, 10)} == {
        account_fixture.manual_clock.value_ms
    }


def test_actor_of_a_token_is_its_user_the_token_or_the_operator(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.OWNER))
    team_token, _ = account_fixture.create_token(team, label="ci")
    assert account_fixture.create_token(team, user)[0].actor == Actor.from_user(user)
    assert team_token.actor == Actor("token", team_token.id, "ci")
    assert account_fixture.create_token(scopes=())[0].actor == OPERATOR


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(AUDIT).values(actor_name="nobody"),
        sa.update(AUDIT).where(AUDIT.c.id == 1).values(at=0),
        sa.delete(AUDIT),
        sa.delete(AUDIT).where(AUDIT.c.id == 1),
        sa.text("INSERT OR REPLACE INTO audit SELECT * FROM audit"),
    ],
)
def test_database_refuses_to_change_or_remove_an_entry(
    account_fixture: AccountFixture, statement: sa.Executable
) -> None:
    record_entries(account_fixture, 2)
    with (
        account_fixture.engine.connect() as connection,
        pytest.raises(DBAPIError, match="append-only"),
    ):
        connection.execute(statement)
    assert targets(account_fixture.audit.page(None, 9)) == ["1", "0"]


def test_change_and_entry_are_committed_together(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    with account_fixture.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    steps: list[Callable[[], object]] = [
        lambda: account_fixture.create_token(team),
        lambda: account_fixture.create_user(),
        lambda: account_fixture.create_team("other"),
        lambda: account_fixture.teams.rename(team, "Other", ANN),
    ]
    for step in steps:
        with pytest.raises(Exception, match="full"):
            step()
    assert account_fixture.teams.all() == [team]
    assert account_fixture.tokens.all() == []
    assert account_fixture.users.all() == []


def test_pages_are_newest_first_without_gaps(account_fixture: AccountFixture) -> None:
    record_entries(account_fixture, 10)
    log = account_fixture.audit
    all_targets = targets(log.page(None, 100))
    assert all_targets == [str(n) for n in reversed(range(10))]
    paged: list[str] = []
    before = None
    while page := log.page(None, 3, before=before):
        paged += targets(page)
        before = page[-1].id
    assert paged == all_targets


def test_all_returns_every_entry_of_a_long_log(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    record_entries(account_fixture, 2500, team_id=team.id)
    entries = list(account_fixture.audit.all(team.id))
    assert targets(entries) == [str(n) for n in reversed(range(2500))] + [team.slug]


def test_page_filters_by_team_action_time_and_cursor(account_fixture: AccountFixture) -> None:
    own_team, other_team = account_fixture.create_team(), account_fixture.create_team()
    record_entries(account_fixture, 1, "token.create", own_team.id)
    account_fixture.manual_clock.advance(60)
    record_entries(account_fixture, 2, "member.add", own_team.id)
    record_entries(account_fixture, 3, "token.create", other_team.id)
    log = account_fixture.audit
    assert len(log.page(own_team.id, 9)) == 4
    assert len(log.page(own_team.id, 9, action="token.create")) == 1
    assert len(log.page(own_team.id, 9, since_ms=account_fixture.manual_clock.value_ms)) == 2
    assert len(log.page(None, 9, action="token.create")) == 4
    assert log.page(own_team.id, 9, action="' OR 1=1 --") == []
    assert log.page(own_team.id, 9, before=0) == []
    assert log.page("", 9) == []


def entry(**values: object) -> AuditEntry:
    default = AuditEntry(1, 0, None, "token", "tok_1", "ci", "token.create", "tok_2", {})
    return msgspec.structs.replace(default, **values)


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20"]
)
def test_csv_escapes_formulas(start: str) -> None:
    formula = f"{start}cmd|' /C calc'!A0"
    entries = [entry(actor_name=formula, target=formula, action=formula, actor_id=formula)]
    rows = list(csv.reader(io.StringIO(b"".join(as_csv(entries)).decode(), newline="")))
    assert rows[1].count("'" + formula) == 4
    assert not [cell for row in rows for cell in row if cell.startswith(start)]


def test_csv_has_a_header_and_quotes_special_characters() -> None:
    special = 'a,"b";\nc'
    text = b"".join(as_csv([entry(actor_name=special, details={"before": special})])).decode()
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert header == [
        "id", "at", "actorKind", "actorId", "actor", "action", "target", "details",
    ]  # fmt: skip
    assert row[4] == special
    assert json.loads(row[7]) == {"before": special}
    assert b"".join(as_csv([])).decode().strip() == ",".join(header)


def test_ndjson_has_one_entry_per_line() -> None:
    lines = b"".join(as_ndjson([entry(id=2, details={"a": "\n\u2028"}), entry()])).split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["id"] for line in lines] == [2, 1]
    assert json.loads(lines[0]) == {
        "id": 2, "at": "1970-01-01T00:00:00.000Z", "actorKind": "token", "actorId": "tok_1",
        "actor": "ci", "action": "token.create", "target": "tok_2", "details": {"a": "\n\u2028"},
    }  # fmt: skip
