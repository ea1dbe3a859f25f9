"""Browser sessions, and short-lived one-time state of login flows.

Only the hash of a secret is stored. Expired rows are deleted when a new one is inserted.
"""

import secrets
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine

from hitrate.auth import tokens
from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import PENDING_AUTH, SESSIONS, USERS
from hitrate.errors import Unauthorized
from hitrate.teams.models import Actor, User
from hitrate.teams.users import user_from_row

SESSION_TTL_S = 12 * 3600
_MAX_PENDING_PER_KIND = 10_000

Value = TypeVar("Value", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Session:
    """A logged-in browser. The browser stores `secret` in a cookie."""

    user: User
    secret: str

    @property
    def actor(self) -> Actor:
        return Actor.from_user(self.user)


class Sessions:
    """Creates, finds and deletes browser sessions. Safe to use from several threads and processes.

    `UserStore` deletes a user's sessions when it disables the user or changes their password.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, user: User) -> Session:
        """Create a session. Raises Unauthorized if the user has been disabled."""
        secret, now_ms = secrets.token_urlsafe(32), self._clock.now_ms()
        row = {
            "hash": _digest(secret),
            "user_id": user.id,
            "created_at": now_ms,
            "expires_at": now_ms + SESSION_TTL_S * 1000,
        }
        active = sa.select(USERS.c.id).where(USERS.c.id == user.id, USERS.c.disabled_at.is_(None))
        with transaction(self._engine) as connection:
            if connection.execute(active).first() is None:
                raise Unauthorized("This account is disabled.")
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires_at <= now_ms))
            connection.execute(sa.insert(SESSIONS), row)
        return Session(user, secret)

    def find(self, secret: str | None) -> Session | None:
        """Find the session with this secret, unless it has expired or its user is disabled."""
        if secret is None:
            return None
        query = (
            sa.select(USERS)
            .join(SESSIONS, SESSIONS.c.user_id == USERS.c.id)
            .where(
                SESSIONS.c.hash == _digest(secret),
                SESSIONS.c.expires_at > self._clock.now_ms(),
                USERS.c.disabled_at.is_(None),
            )
        )
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else Session(user_from_row(row), secret)

    def delete(self, secret: str | None) -> None:
        """Delete a session. Does nothing if there is none."""
        if secret is not None:
            with transaction(self._engine) as connection:
                connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.hash == _digest(secret)))

    def find_user(self, user_id: str) -> User | None:
        """Find the user with this id, unless they are disabled."""
        query = sa.select(USERS).where(USERS.c.id == user_id, USERS.c.disabled_at.is_(None))
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else user_from_row(row)


class OneTimeStore:
    """Values that a random secret retrieves once. Safe to use from several threads and processes.

    Of several concurrent calls with the same secret, one gets the value.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def put(self, kind: str, value: msgspec.Struct, lifetime_s: int) -> str:
        """Store a value and return its secret.

        Above the maximum number of values of a kind, the oldest are deleted: starting thousands of
        login flows must not prevent others from logging in.
        """
        secret, now_ms = secrets.token_urlsafe(32), self._clock.now_ms()
        row = {
            "hash": _digest(secret),
            "kind": kind,
            "details": msgspec.json.encode(value).decode(),
            "expires_at": now_ms + lifetime_s * 1000,
        }
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(PENDING_AUTH).where(PENDING_AUTH.c.expires_at <= now_ms))
            newest = (
                sa.select(PENDING_AUTH.c.hash)
                .where(PENDING_AUTH.c.kind == kind)
                .order_by(PENDING_AUTH.c.expires_at.desc())
                .limit(_MAX_PENDING_PER_KIND)
            )
            connection.execute(
                sa.delete(PENDING_AUTH).where(
                    PENDING_AUTH.c.kind == kind, PENDING_AUTH.c.hash.not_in(newest)
                )
            )
            connection.execute(sa.insert(PENDING_AUTH), row)
        return secret

    def pop(self, kind: str, secret: str, value_type: type[Value]) -> Value | None:
        """Remove and return a value. None if the secret is unknown, used or expired."""
        delete = (
            sa.delete(PENDING_AUTH)
            .where(PENDING_AUTH.c.hash == _digest(secret), PENDING_AUTH.c.kind == kind)
            .returning(PENDING_AUTH.c.details, PENDING_AUTH.c.expires_at)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(delete).first()
        if row is None or row.expires_at <= self._clock.now_ms():
            return None
        return msgspec.json.decode(row.details, type=value_type)


def _digest(secret: str) -> bytes:
    # A slow password hash is unnecessary: 256 random bits cannot be guessed.
    return tokens.digest(secret.encode())
