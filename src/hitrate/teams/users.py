"""Users in the database."""

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
from hitrate.teams.store import MAX_NAME_LENGTH, validate_name

MAX_EMAIL_LENGTH = 254
_MAX_USERNAME_SUFFIX = 1000


def user_from_row(row: Row[*tuple[Any, ...]]) -> User:
    """Convert a row with all columns of the table `users`."""
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
    """Return the address in lower case. Raises BadRequest for an invalid one."""
    normalized = email.strip().lower()
    # ASCII only: other letters fold into these (the Kelvin sign into k), or look like them.
    well_formed = re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", email.strip())
    if len(normalized) > MAX_EMAIL_LENGTH or not well_formed:
        raise BadRequest(f"{email[:80]!a} is not an email address; it looks like ann@example.com.")
    return normalized


class UserStore:
    """Reads and changes users. Safe to use from several threads and processes.

    Methods that take a password hash it on the calling thread, which takes a while.
    """

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
        """Create a user. Raises BadRequest for an address or username in use or malformed."""
        email = normalize_email(email)
        if username is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,47}", username):
            raise BadRequest(
                f"{username[:60]!a} cannot be a username: use up to 48 lower-case letters, digits, "
                "'-', '_' and '.', starting with a letter or a digit."
            )
        password_hash = None if password is None else hash_password(password)
        with transaction(self._engine) as connection:
            row = {
                "id": new_id("usr", 24),
                "email": email,
                "username": username or _free_username(connection, email),
                "name": validate_name(name or email.partition("@")[0][:MAX_NAME_LENGTH]),
                "password_hash": password_hash,
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
            return _select_one(connection, USERS.c.email == email)

    def all(self) -> list[User]:
        """List all users, ordered by email address."""
        with map_database_errors(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(USERS).order_by("email"))
            return [user_from_row(row) for row in rows]

    def find(self, email: str) -> User | None:
        """Find the user with this address. Raises BadRequest for an invalid address."""
        query = sa.select(USERS).where(USERS.c.email == normalize_email(email))
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else user_from_row(row)

    def get(self, email: str) -> User:
        """Return the user with this address. Raises NotFound or BadRequest."""
        user = self.find(email)
        if user is None:
            raise NotFound(f"There is no user {email!a}; `hitrate user list` lists all users.")
        return user

    def authenticate(self, email: str, password: str) -> User | None:
        """Return the user with this address and password, unless they are disabled.

        Takes as long for an unknown address.
        """
        query = sa.select(USERS).where(USERS.c.email == email.strip().lower()[:MAX_EMAIL_LENGTH])
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        matches = password_matches(None if row is None else row.password_hash, password)
        if row is None or not matches or row.disabled_at is not None:
            return None
        return user_from_row(row)

    def disable(self, user: User, *, disabled: bool = True, actor: Actor = OPERATOR) -> None:
        """Disable or enable a user. Disabling ends their sessions and suspends their tokens."""
        now_ms = self._clock.now_ms()
        with transaction(self._engine) as connection:
            current = _select_one(connection, USERS.c.id == user.id)
            if (current.disabled_at_ms is not None) == disabled:
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
        """Change a user's password. Ends their sessions but keeps their tokens."""
        password_hash = hash_password(password)
        with transaction(self._engine) as connection:
            connection.execute(
                sa.update(USERS).where(USERS.c.id == user.id).values(password_hash=password_hash)
            )
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.user_id == user.id))
            record(connection, self._clock.now_ms(), actor, "user.password", None, user.email)


def _select_one(connection: Connection, condition: sa.ColumnElement[bool]) -> User:
    return user_from_row(connection.execute(sa.select(USERS).where(condition)).one())


def _free_username(connection: Connection, email: str) -> str:
    """Derive an unused username from an address, with a number appended if necessary."""
    stem = re.sub(r"[^a-z0-9._-]", "-", email.partition("@")[0]).lstrip("._-")[:40] or "user"
    for number in range(1, _MAX_USERNAME_SUFFIX):
        name = stem if number == 1 else f"{stem}-{number}"
        query = sa.select(USERS.c.id).where(USERS.c.username == name)
        if connection.execute(query).first() is None:
            return name
    raise BadRequest(f"Too many users are named {stem!r}: choose a username.")
