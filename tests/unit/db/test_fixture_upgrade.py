"""Upgrade of the database of an earlier version, from a recorded data directory.

`tests/fixtures/data_directory_v1/README.md` describes what the fixture holds.
"""

import json
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hitrate.auth import tokens
from hitrate.auth.models import Token, TokenOrigin
from hitrate.clock import iso
from hitrate.datadir import DataDir
from hitrate.db.engine import SCHEMA_VERSION
from hitrate.errors import BadRequest
from hitrate.management.turbo_account import CurrentToken
from hitrate.teams.models import OPERATOR
from tests.support.account_fixture import AccountFixture, bearer

FIXTURE = Path(__file__).parents[2] / "fixtures" / "data_directory_v1"
SECRETS: dict[str, dict[str, Any]] = json.loads((FIXTURE / "secrets.json").read_text())["tokens"]
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())
COMMANDS = EXPECTED["after_loading"]["commands"]

SUCCESSORS = {
    "rotated": "rotated-next",
    "rotated-over": "rotated-over-next",
    "rotated-chain": "rotated-chain-2",
    "rotated-chain-2": "rotated-chain-3",
    "bob-own": "bob-own-next",
    "bob-web": "bob-web-next",
}
STILL_VALID = {"rotated", "rotated-chain-2", "bob-own"}


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountFixture]:
    """The fixture's database after the upgrade, with the clock at the time of the recording."""
    with upgraded_copy(tmp_path_factory.mktemp("upgrade")) as accounts:
        yield accounts


@contextmanager
def upgraded_copy(directory: Path) -> Iterator[AccountFixture]:
    with tarfile.open(FIXTURE / "data.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    assert schema_version(directory / "data") == "0003"
    accounts = AccountFixture(directory / "data")
    accounts.manual_clock.value_ms = EXPECTED["now_ms"]
    yield accounts
    accounts.close()


def schema_version(data_dir: Path) -> str:
    connection = sqlite3.connect(DataDir(data_dir).database)
    [(version,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return str(version)


def token(accounts: AccountFixture, name: str) -> Token:
    return accounts.tokens.get(SECRETS[name]["id"])


def state(token: Token, now_ms: int) -> str:
    if token.revoked_at_ms is not None:
        return "revoked"
    return "valid" if token.valid_at(now_ms) else "expired"


def test_upgrade_reaches_the_newest_schema(upgraded: AccountFixture) -> None:
    assert schema_version(upgraded.data_dir) == SCHEMA_VERSION
    with upgraded.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
    assert "pending_auth" in tables
    assert "sign_ins" not in tables


def test_upgrade_keeps_tokens(upgraded: AccountFixture) -> None:
    def time(at_ms: int | None) -> str | None:
        return None if at_ms is None else iso(at_ms)

    assert [
        {
            "createdAt": iso(token.created_at_ms),
            "expiresAt": time(token.expires_at_ms),
            "id": token.id,
            "label": token.label,
            "lastUsedAt": time(token.used_at_ms),
            "revokedAt": time(token.revoked_at_ms),
            "scopes": sorted(token.scopes),
            "state": state(token, EXPECTED["now_ms"]),
            "team": token.team.slug if token.team else None,
            "user": token.user.email if token.user else None,
        }
        for token in upgraded.tokens.all()
    ] == COMMANDS["token list"]


@pytest.mark.parametrize("name", SECRETS)
def test_upgrade_keeps_what_secrets_authenticate(upgraded: AccountFixture, name: str) -> None:
    secret = SECRETS[name]
    match = upgraded.tokens.find(tokens.digest(secret["token"].encode()))
    assert match is not None
    stored = match[0]
    assert stored.id == secret["id"]
    if stored.valid_at(EXPECTED["now_ms"]):
        assert upgraded.authorizer.authenticate(bearer(secret["token"])) == stored


@pytest.mark.parametrize("name", SECRETS)
def test_upgrade_sets_successors_of_rotated_tokens(upgraded: AccountFixture, name: str) -> None:
    successor = SUCCESSORS.get(name)
    assert token(upgraded, name).replaced_by == (successor and SECRETS[successor]["id"])


@pytest.mark.parametrize("name", SUCCESSORS)
def test_upgrade_keeps_the_state_of_rotated_tokens(upgraded: AccountFixture, name: str) -> None:
    is_valid = token(upgraded, name).valid_at(EXPECTED["now_ms"])
    assert is_valid == (name in STILL_VALID)


@pytest.mark.parametrize("name", SUCCESSORS)
def test_upgraded_database_refuses_a_second_rotation(upgraded: AccountFixture, name: str) -> None:
    before = upgraded.tokens.all()
    message = "rotated before" if name in STILL_VALID else "create a new one"
    with pytest.raises(BadRequest, match=message):
        upgraded.tokens.rotate(token(upgraded, name), 60, OPERATOR)
    assert upgraded.tokens.all() == before


@pytest.mark.parametrize("name", SECRETS)
def test_upgrade_sets_the_origin_of_login_tokens(upgraded: AccountFixture, name: str) -> None:
    origins = {
        "turbo-login": TokenOrigin.LOGIN,
        "turbo-login-team": TokenOrigin.SSO,
        "turbo-login-sso": TokenOrigin.SSO,
    }
    stored = token(upgraded, name)
    assert stored.origin is origins.get(name, TokenOrigin.MANUAL)
    origin = "sso" if name in ("turbo-login-team", "turbo-login-sso") else "manual"
    assert CurrentToken.from_token(stored).origin == origin


def test_upgrade_keeps_users_and_members(upgraded: AccountFixture) -> None:
    assert [
        {
            "email": user.email,
            "username": user.username,
            "name": user.name,
            "state": "active" if user.disabled_at_ms is None else "disabled",
            "teams": {
                member.team.slug: member.role.value
                for member in upgraded.members.list_for_user(user)
            },
        }
        for user in upgraded.users.all()
    ] == [
        {name: user[name] for name in ("email", "username", "name", "state", "teams")}
        for user in COMMANDS["user list"]
    ]


@pytest.mark.parametrize("slug", sorted(EXPECTED["after_loading"]["teams"]))
def test_upgrade_keeps_members_with_caching_disabled(upgraded: AccountFixture, slug: str) -> None:
    team = upgraded.teams.find(slug=slug)
    assert team is not None
    members = {
        member.user.email: member.remote_caching for member in upgraded.members.list_for_team(team)
    }
    recorded = EXPECTED["after_loading"]["teams"][slug]["members"]
    assert members == {member["email"]: member["remoteCaching"] for member in recorded}


def test_upgrade_keeps_the_audit_log(upgraded: AccountFixture) -> None:
    entries = list(upgraded.audit.all(None))
    assert len(entries) == 79
    assert [entry.id for entry in entries] == list(range(79, 0, -1))


@pytest.mark.parametrize("statement", ["UPDATE audit SET target = ''", "DELETE FROM audit"])
def test_upgraded_audit_log_is_append_only(upgraded: AccountFixture, statement: str) -> None:
    connection = sqlite3.connect(DataDir(upgraded.data_dir).database)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("name", ["rotated-next", "turbo-login-sso"])
def test_rotation_after_the_upgrade_sets_successor_and_keeps_origin(
    tmp_path: Path, name: str
) -> None:
    with upgraded_copy(tmp_path) as upgraded:
        old = token(upgraded, name)
        new, _ = upgraded.tokens.rotate(old, 60, OPERATOR)
        assert token(upgraded, name).replaced_by == new.id
        assert (new.origin, new.replaced_by) == (old.origin, None)
        with pytest.raises(BadRequest, match=f"rotate its successor {new.id}"):
            upgraded.tokens.rotate(old, 60, OPERATOR)
