"""People in the database."""

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import IntegrityError

from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import SESSIONS, USERS
from hitrate.errors import BadRequest, NotFound
from hitrate.ids import new_id
from hitrate.teams.audit import record
from hitrate.teams.models import OPERATOR, Actor, User
from hitrate.teams.passwords import hash_password, password_matches
from hitrate.teams.store import validate_name

_NAMES_TRIED = 1000


def user_from_row(row: Row[*tuple[Any, ...]]) -> User:
    """From a row with all of the table's columns."""
    return User(
        row.id,
        row.email,
        row.username,
        row.name,
        row.created_at,
        row.disabled_at,
        row.password_hash is not None,
    )


def normalize_email(email: str) -> str:
    """An address as it is kept. Raises BadRequest for what cannot be one."""
    normal = email.strip().lower()
    # ASCII alone: other letters fold into these (the Kelvin sign is a k), and look like them.
    formed = re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", email.strip())
    if len(normal) > 254 or not formed:
        raise BadRequest(f"{email[:80]!a} is not an e-mail address; it looks like ann@example.com.")
    return normal


class UserStore:
    """Safe to use from several threads and processes. Passwords are checked on the caller's."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(
        self,
        email: str,
        name: str | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
        actor: Actor = OPERATOR,
    ) -> User:
        """A new person. Raises BadRequest for an address or a username that is taken or wrong."""
        email = normalize_email(email)
        if username is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,47}", username):
            raise BadRequest(
                f"{username[:60]!a} cannot be a username: use up to 48 lower-case letters, digits, "
                "'-', '_' and '.', starting with a letter or a digit."
            )
        kept = None if password is None else hash_password(password)
        with transaction(self._engine) as connection:
            row = {
                "id": new_id("usr", 24),
                "email": email,
                "username": username or _free_username(connection, email),
                "name": validate_name(name or email.partition("@")[0][:100]),
                "password_hash": kept,
                "created_at": self._clock.now_ms(),
            }
            try:
                connection.execute(sa.insert(USERS), row)
            except IntegrityError as error:
                raise BadRequest(
                    f"There is a user with the address {email} or the username "
                    f"{row['username']} already."
                ) from error
            record(connection, self._clock.now_ms(), actor, "user.create", None, email)
            return _by(connection, USERS.c.email == email)

    def all(self) -> list[User]:
        """Everybody, by address."""
        with map_database_errors(), self._engine.connect() as connection:
            return [
                user_from_row(row) for row in connection.execute(sa.select(USERS).order_by("email"))
            ]

    def find(self, email: str) -> User | None:
        """The person with this address."""
        query = sa.select(USERS).where(USERS.c.email == normalize_email(email))
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else user_from_row(row)

    def get(self, email: str) -> User:
        """The person with this address. Raises NotFound."""
        user = self.find(email)
        if user is None:
            raise NotFound(f"There is no user {email!a}; `hitrate user list` shows who there is.")
        return user

    def authenticate(self, email: str, password: str) -> User | None:
        """Whoever has this address and this password, and is not disabled. Takes a while."""
        query = sa.select(USERS).where(USERS.c.email == email.strip().lower()[:254])
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        matches = password_matches(None if row is None else row.password_hash, password)
        return (
            user_from_row(row) if row is not None and matches and row.disabled_at is None else None
        )

    def disable(self, user: User, *, disabled: bool = True, actor: Actor = OPERATOR) -> None:
        """End, or allow again, everything that a person can do: sessions, tokens, signing in."""
        now_ms = self._clock.now_ms()
        with transaction(self._engine) as connection:
            if (_by(connection, USERS.c.id == user.id).disabled_at_ms is not None) == disabled:
                return
            connection.execute(
                sa.update(USERS)
                .where(USERS.c.id == user.id)
                .values(disabled_at=now_ms if disabled else None)
            )
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.user_id == user.id))
            action = "user.disable" if disabled else "user.enable"
            record(connection, now_ms, actor, action, None, user.email)

    def set_password(self, user: User, password: str, actor: Actor = OPERATOR) -> None:
        """A new password; it ends the person's sessions, not their tokens."""
        kept = hash_password(password)
        with transaction(self._engine) as connection:
            connection.execute(
                sa.update(USERS).where(USERS.c.id == user.id).values(password_hash=kept)
            )
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.user_id == user.id))
            record(connection, self._clock.now_ms(), actor, "user.password", None, user.email)


def _by(connection: Connection, condition: sa.ColumnElement[bool]) -> User:
    return user_from_row(connection.execute(sa.select(USERS).where(condition)).one())


def _free_username(connection: Connection, email: str) -> str:
    stem = re.sub(r"[^a-z0-9._-]", "-", email.partition("@")[0]).lstrip("._-")[:40] or "user"
    for number in range(1, _NAMES_TRIED):
        name = stem if number == 1 else f"{stem}-{number}"
        taken = sa.select(USERS.c.id).where(USERS.c.username == name)
        if connection.execute(taken).first() is None:
            return name
    raise BadRequest(f"Too many users are named {stem!r}: give a username.")
