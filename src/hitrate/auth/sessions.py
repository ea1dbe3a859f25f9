"""Who is signed in to the pages, and what waits once and for minutes. Of each secret only the hash
is kept; what has ended goes when the next begins."""

import secrets
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine

from hitrate.auth import token_secrets
from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import PENDING_AUTH, SESSIONS, USERS
from hitrate.errors import Unauthorized
from hitrate.teams.models import Actor, User
from hitrate.teams.users import user_from_row

SESSION_S = 12 * 3600
_WAIT_MOST = 10_000

Details = TypeVar("Details", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in; `secret` is what their browser keeps."""

    user: User
    secret: str

    @property
    def actor(self) -> Actor:
        return Actor("user", self.user.id, self.user.email)


class Sessions:
    """Safe to use from several threads and processes. Disabling a person and changing their
    password end their sessions: `UserStore` does so."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, user: User) -> Session:
        """Sign somebody in. Raises Unauthorized for who was disabled in the meantime."""
        secret, now_ms = secrets.token_urlsafe(32), self._clock.now_ms()
        row = {
            "hash": _digest(secret),
            "user_id": user.id,
            "created_at": now_ms,
            "expires_at": now_ms + SESSION_S * 1000,
        }
        active = sa.select(USERS.c.id).where(USERS.c.id == user.id, USERS.c.disabled_at.is_(None))
        with transaction(self._engine) as connection:
            if connection.execute(active).first() is None:
                raise Unauthorized("This account is disabled.")
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires_at <= now_ms))
            connection.execute(sa.insert(SESSIONS), row)
        return Session(user, secret)

    def find(self, secret: str | None) -> Session | None:
        """Whose browser keeps this secret, unless the session is over."""
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
        """Sign out. What is over already is no error."""
        if secret is not None:
            with transaction(self._engine) as connection:
                connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.hash == _digest(secret)))

    def find_user(self, user_id: str) -> User | None:
        """Whoever has this id and is not disabled."""
        query = sa.select(USERS).where(USERS.c.id == user_id, USERS.c.disabled_at.is_(None))
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else user_from_row(row)


class OneTimeStore:
    """Details that wait under a secret until somebody brings it. Safe to use from several threads
    and processes: of two who bring it at once, one gets it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def put(self, kind: str, details: msgspec.Struct, lifetime_s: int) -> str:
        """The secret under which the details wait. Where too many of a kind do, the oldest go:
        whoever begins thousands must not shut out the others."""
        secret, now_ms = secrets.token_urlsafe(32), self._clock.now_ms()
        row = {
            "hash": _digest(secret),
            "kind": kind,
            "details": msgspec.json.encode(details).decode(),
            "expires_at": now_ms + lifetime_s * 1000,
        }
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(PENDING_AUTH).where(PENDING_AUTH.c.expires_at <= now_ms))
            newest = (
                sa.select(PENDING_AUTH.c.hash)
                .where(PENDING_AUTH.c.kind == kind)
                .order_by(PENDING_AUTH.c.expires_at.desc())
                .limit(_WAIT_MOST)
            )
            connection.execute(
                sa.delete(PENDING_AUTH).where(
                    PENDING_AUTH.c.kind == kind, PENDING_AUTH.c.hash.not_in(newest)
                )
            )
            connection.execute(sa.insert(PENDING_AUTH), row)
        return secret

    def pop(self, kind: str, secret: str, form: type[Details]) -> Details | None:
        """The details, once; None when the secret is unknown, was brought before, or is too old."""
        taken = (
            sa.delete(PENDING_AUTH)
            .where(PENDING_AUTH.c.hash == _digest(secret), PENDING_AUTH.c.kind == kind)
            .returning(PENDING_AUTH.c.details, PENDING_AUTH.c.expires_at)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(taken).first()
        if row is None or row.expires_at <= self._clock.now_ms():
            return None
        return msgspec.json.decode(row.details, type=form)


def _digest(secret: str) -> bytes:
    # As of tokens: nobody guesses 256 random bits, so a plain hash is right.
    return token_secrets.digest(secret.encode())
