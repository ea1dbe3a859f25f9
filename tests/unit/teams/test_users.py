"""Users: addresses, names, passwords, and disabling."""

from typing import Any

import pytest
import sqlalchemy as sa

from hitrate.auth.models import Permission
from hitrate.db.tables import SESSIONS, USERS
from hitrate.errors import BadRequest, NotFound, Unauthorized
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, User
from tests.support.account_fixture import AccountFixture, bearer, run_concurrently

PASSWORD = "correct horse battery"

pytestmark = pytest.mark.usefixtures("quick_passwords")


def add_session(account_fixture: AccountFixture, user: User) -> None:
    """Insert a session of the user."""
    row = {"hash": user.id.encode(), "user_id": user.id, "created_at": 0, "expires_at": 2**40}
    with account_fixture.engine.begin() as connection:
        connection.execute(sa.insert(SESSIONS), row)


def count_sessions(account_fixture: AccountFixture) -> int:
    with account_fixture.engine.connect() as connection:
        return len(connection.execute(sa.select(SESSIONS)).all())


@pytest.mark.parametrize(
    ("entered", "stored"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("  ann@example.com\n", "ann@example.com"),
        ("a+b.c@x", "a+b.c@x"),
        ("o'hara;--@example.com", "o'hara;--@example.com"),
        ("a" * 250 + "@x", "a" * 250 + "@x"),
    ],
)
def test_address_is_normalized_and_unique(
    account_fixture: AccountFixture, entered: str, stored: str
) -> None:
    user = account_fixture.users.create(entered, "Ann")
    assert user.email == stored
    assert account_fixture.users.get(entered.upper()) == user
    with pytest.raises(BadRequest, match="already"):
        account_fixture.users.create(stored.upper(), "Ann")


@pytest.mark.parametrize(
    "email",
    ["", " ", "ann", "@", "ann@", "@x", "a@b@c", "a b@x", "a\tb@x", "a\0@x", "a\x1b[31m@x",
     "änn@x", "\u212aen@x", "a@\uff58",
     "a\x9b31m@x", "a\u200b@x", "a\u202e@x", "a\udcff@x", "a" * 253 + "@x"],
)  # fmt: skip
def test_invalid_address_is_refused(account_fixture: AccountFixture, email: str) -> None:
    for step in (
        account_fixture.users.create,
        account_fixture.users.get,
        account_fixture.users.find,
    ):
        with pytest.raises(BadRequest, match="not an email address"):
            step(email)
    assert account_fixture.users.all() == []


def test_get_unknown_address_raises_not_found(account_fixture: AccountFixture) -> None:
    with pytest.raises(NotFound, match="ann@example"):
        account_fixture.users.get("ann@example.com")
    assert account_fixture.users.find("ann@example.com") is None


def test_username_is_derived_from_the_address_and_unique(
    account_fixture: AccountFixture,
) -> None:
    users = account_fixture.users
    usernames = [users.create(f"Ann.Lee+x@{host}").username for host in ("a", "b", "c")]
    assert usernames == ["ann.lee-x", "ann.lee-x-2", "ann.lee-x-3"]
    assert users.create("_._@x").username == "user"
    assert users.create("x" * 100 + "@x", "X").username == "x" * 40
    with pytest.raises(BadRequest, match="already"):
        users.create("else@x", username="ann.lee-x")


@pytest.mark.parametrize("username", ["", "Ann", "-ann", "a b", "a/b", "ä", "x" * 49, "a\n"])
def test_malformed_username_is_refused(account_fixture: AccountFixture, username: str) -> None:
    with pytest.raises(BadRequest, match="username"):
        account_fixture.users.create("ann@example.com", username=username)


@pytest.mark.parametrize("name", [" ", "x" * 101, "a\nb", "a\x1b[31m", "a\u202e", "\ud800"])
def test_unprintable_or_long_name_is_refused(account_fixture: AccountFixture, name: str) -> None:
    with pytest.raises(BadRequest, match="1 to 100 printable"):
        account_fixture.users.create("ann@example.com", name)
    assert account_fixture.users.create("ann@example.com", "Änn 😀 '; DROP TABLE users").name


def test_concurrent_creates_with_one_address_create_one_user(
    account_fixture: AccountFixture,
) -> None:
    def create(email: str) -> Any:
        return lambda: account_fixture.users.create(email)

    outcomes = run_concurrently(*(create(email) for email in ("ann@x", "ANN@x", "ann@y", "ann@z")))
    assert sum(outcome is not None for outcome in outcomes) == 1
    users = account_fixture.users.all()
    assert [user.email for user in users] == ["ann@x", "ann@y", "ann@z"]
    assert len({user.username for user in users}) == 3


def test_authenticate_requires_the_password_of_the_user(account_fixture: AccountFixture) -> None:
    users = account_fixture.users
    ann = users.create("ann@example.com", password=PASSWORD)
    users.create("bob@example.com", password="another one, longer")
    users.create("cid@example.com")
    assert ann.has_password
    assert users.authenticate(" Ann@Example.com", PASSWORD) == ann
    for email, password in [
        ("ann@example.com", "another one, longer"),
        ("ann@example.com", PASSWORD.upper()),
        ("ann@example.com", ""),
        ("cid@example.com", ""),
        ("cid@example.com", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("", ""),
    ]:
        assert users.authenticate(email, password) is None, (email, password)


def test_refused_password_creates_no_user(account_fixture: AccountFixture) -> None:
    with pytest.raises(BadRequest, match="10 to 1024"):
        account_fixture.users.create("ann@example.com", password="short")
    assert account_fixture.users.all() == []


def test_set_password_ends_sessions_but_keeps_tokens(
    account_fixture: AccountFixture,
) -> None:
    users, team = account_fixture.users, account_fixture.create_team()
    ann = users.create("ann@example.com", password=PASSWORD)
    bob = account_fixture.create_user()
    for user in (ann, bob):
        add_session(account_fixture, user)
    token, _ = account_fixture.create_token(team, ann)
    users.set_password(ann, "a new one, also long")
    assert users.authenticate(ann.email, PASSWORD) is None
    assert users.authenticate(ann.email, "a new one, also long") == ann
    assert count_sessions(account_fixture) == 1
    assert account_fixture.tokens.get(token.id).valid_at(account_fixture.manual_clock.value_ms)


def test_disabling_takes_effect_within_five_seconds_and_is_reversible(
    account_fixture: AccountFixture,
) -> None:
    users, team = account_fixture.users, account_fixture.create_team()
    ann = users.create("ann@example.com", password=PASSWORD)
    account_fixture.members.add(team, ann, Role.MEMBER, OPERATOR)
    secrets = [
        bearer(account_fixture.create_token(token_team, ann)[1]) for token_team in (team, None)
    ]
    for secret in secrets:
        account_fixture.authorizer.authorize(secret, b"", Permission.WRITE)
    add_session(account_fixture, ann)
    users.disable(ann)
    account_fixture.manual_clock.advance(5)
    for secret in secrets:
        with pytest.raises(Unauthorized):
            account_fixture.authorizer.authorize(secret, b"", Permission.WRITE)
        with pytest.raises(Unauthorized):
            account_fixture.authorizer.authenticate(secret)
    assert count_sessions(account_fixture) == 0
    assert users.authenticate(ann.email, PASSWORD) is None
    users.disable(ann, disabled=False)
    account_fixture.manual_clock.advance(5)
    for secret in secrets:
        account_fixture.authorizer.authorize(secret, b"", Permission.WRITE)
    assert users.authenticate(ann.email, PASSWORD) == ann


def test_changes_of_a_user_are_recorded_once(account_fixture: AccountFixture) -> None:
    users = account_fixture.users
    ann = users.create("ann@example.com", password=PASSWORD)
    users.disable(ann)
    users.disable(ann)
    users.disable(ann, disabled=False)
    users.set_password(ann, PASSWORD)
    assert account_fixture.audit_actions() == [
        "user.create",
        "user.disable",
        "user.enable",
        "user.password",
    ]
    assert {entry.target for entry in account_fixture.audit.page(None, 9)} == {ann.email}


def test_password_is_not_stored(account_fixture: AccountFixture) -> None:
    account_fixture.users.create("ann@example.com", password=PASSWORD)
    with account_fixture.engine.connect() as connection:
        [stored] = connection.execute(sa.select(USERS.c.password_hash)).scalars()
    assert stored.startswith("$argon2id$")
    account_fixture.close()
    for file in account_fixture.data_dir.iterdir():
        assert PASSWORD.encode() not in file.read_bytes(), file.name
