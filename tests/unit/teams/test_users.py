"""People: addresses, names, passwords, and being disabled."""

from typing import Any

import pytest
import sqlalchemy as sa

from hitrate.auth.models import Permission
from hitrate.db.tables import SESSIONS, USERS
from hitrate.errors import BadRequest, NotFound, Unauthorized
from hitrate.teams.models import OPERATOR, Role, User
from tests.support.account_fixture import Town, at_once, bearer

PASSWORD = "correct horse battery"

pytestmark = pytest.mark.usefixtures("quick_passwords")


def sign_in(town: Town, user: User) -> None:
    """A session, as the pages keep it."""
    row = {"hash": user.id.encode(), "user_id": user.id, "created_at": 0, "expires_at": 2**40}
    with town.engine.begin() as connection:
        connection.execute(sa.insert(SESSIONS), row)


def sessions(town: Town) -> int:
    with town.engine.connect() as connection:
        return len(connection.execute(sa.select(SESSIONS)).all())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("  ann@example.com\n", "ann@example.com"),
        ("a+b.c@x", "a+b.c@x"),
        ("o'hara;--@example.com", "o'hara;--@example.com"),
        ("a" * 250 + "@x", "a" * 250 + "@x"),
    ],
)
def test_an_address_is_one_person_however_it_is_written(town: Town, given: str, kept: str) -> None:
    user = town.accounts.users.create(given, "Ann")
    assert user.email == kept
    assert town.accounts.users.get(given.upper()) == user
    with pytest.raises(BadRequest, match="already"):
        town.accounts.users.create(kept.upper(), "Ann")


@pytest.mark.parametrize(
    "email",
    ["", " ", "ann", "@", "ann@", "@x", "a@b@c", "a b@x", "a\tb@x", "a\0@x", "a\x1b[31m@x",
     "änn@x", "\u212aen@x", "a@\uff58",
     "a\x9b31m@x", "a\u200b@x", "a\u202e@x", "a\udcff@x", "a" * 253 + "@x"],
)  # fmt: skip
def test_what_is_no_address_is_refused(town: Town, email: str) -> None:
    for step in (town.accounts.users.create, town.accounts.users.get, town.accounts.users.find):
        with pytest.raises(BadRequest, match="not an e-mail address"):
            step(email)
    assert town.accounts.users.all() == []


def test_an_unknown_address_is_said(town: Town) -> None:
    with pytest.raises(NotFound, match="ann@example"):
        town.accounts.users.get("ann@example.com")
    assert town.accounts.users.find("ann@example.com") is None


def test_a_username_is_made_from_the_address_and_taken_once(town: Town) -> None:
    users = town.accounts.users
    made = [users.create(f"Ann.Lee+x@{host}").username for host in ("a", "b", "c")]
    assert made == ["ann.lee-x", "ann.lee-x-2", "ann.lee-x-3"]
    assert users.create("_._@x").username == "user"
    assert users.create("x" * 100 + "@x", "X").username == "x" * 40
    with pytest.raises(BadRequest, match="already"):
        users.create("else@x", username="ann.lee-x")


@pytest.mark.parametrize("username", ["", "Ann", "-ann", "a b", "a/b", "ä", "x" * 49, "a\n"])
def test_a_username_has_a_form(town: Town, username: str) -> None:
    with pytest.raises(BadRequest, match="username"):
        town.accounts.users.create("ann@example.com", username=username)


@pytest.mark.parametrize("name", [" ", "x" * 101, "a\nb", "a\x1b[31m", "a\u202e", "\ud800"])
def test_a_name_is_printable_and_not_too_long(town: Town, name: str) -> None:
    with pytest.raises(BadRequest, match="1 to 100 printable"):
        town.accounts.users.create("ann@example.com", name)
    assert town.accounts.users.create("ann@example.com", "Änn 😀 '; DROP TABLE users").name


def test_the_same_person_made_at_once_is_made_once(town: Town) -> None:
    def create(email: str) -> Any:
        return lambda: town.accounts.users.create(email)

    outcomes = at_once(*(create(email) for email in ("ann@x", "ANN@x", "ann@y", "ann@z")))
    assert sum(outcome is not None for outcome in outcomes) == 1
    users = town.accounts.users.all()
    assert [user.email for user in users] == ["ann@x", "ann@y", "ann@z"]
    assert len({user.username for user in users}) == 3


def test_a_password_is_that_of_one_person(town: Town) -> None:
    users = town.accounts.users
    ann = users.create("ann@example.com", password=PASSWORD)
    users.create("bob@example.com", password="another one, longer")
    users.create("cid@example.com")
    assert ann.has_password
    assert users.with_password(" Ann@Example.com", PASSWORD) == ann
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
        assert users.with_password(email, password) is None, (email, password)


def test_a_refused_password_makes_nobody(town: Town) -> None:
    with pytest.raises(BadRequest, match="10 to 1024"):
        town.accounts.users.create("ann@example.com", password="short")
    assert town.accounts.users.all() == []


def test_a_new_password_ends_sessions_and_the_old_password_but_no_token(town: Town) -> None:
    users, team = town.accounts.users, town.team()
    ann = users.create("ann@example.com", password=PASSWORD)
    bob = town.person()
    for user in (ann, bob):
        sign_in(town, user)
    token, _ = town.token(team, ann)
    users.set_password(ann, "a new one, also long")
    assert users.with_password(ann.email, PASSWORD) is None
    assert users.with_password(ann.email, "a new one, also long") == ann
    assert sessions(town) == 1
    assert town.accounts.tokens.get(token.id).valid_at(town.time.value_ms)


def test_who_is_disabled_can_do_nothing_within_five_seconds_and_all_when_enabled(
    town: Town,
) -> None:
    users, team = town.accounts.users, town.team()
    ann = users.create("ann@example.com", password=PASSWORD)
    town.accounts.members.add(team, ann, Role.MEMBER, OPERATOR)
    secrets = [bearer(town.token(place, ann)[1]) for place in (team, None)]
    for secret in secrets:
        town.gate.admit(secret, b"", Permission.WRITE)
    sign_in(town, ann)
    users.disable(ann)
    town.time.advance(5)
    for secret in secrets:
        with pytest.raises(Unauthorized):
            town.gate.admit(secret, b"", Permission.WRITE)
        with pytest.raises(Unauthorized):
            town.gate.identify(secret)
    assert sessions(town) == 0
    assert users.with_password(ann.email, PASSWORD) is None
    users.disable(ann, disabled=False)
    town.time.advance(5)
    for secret in secrets:
        town.gate.admit(secret, b"", Permission.WRITE)
    assert users.with_password(ann.email, PASSWORD) == ann


def test_what_concerns_people_is_written_down_once(town: Town) -> None:
    users = town.accounts.users
    ann = users.create("ann@example.com", password=PASSWORD)
    users.disable(ann)
    users.disable(ann)
    users.disable(ann, disabled=False)
    users.set_password(ann, PASSWORD)
    assert town.noted() == ["user.create", "user.disable", "user.enable", "user.password"]
    assert {entry.target for entry in town.accounts.audit.page(None, 9)} == {ann.email}


def test_no_password_is_kept(town: Town) -> None:
    town.accounts.users.create("ann@example.com", password=PASSWORD)
    with town.engine.connect() as connection:
        [kept] = connection.execute(sa.select(USERS.c.password_hash)).scalars()
    assert kept.startswith("$argon2id$")
    town.close()
    for file in town.folder.iterdir():
        assert PASSWORD.encode() not in file.read_bytes(), file.name
