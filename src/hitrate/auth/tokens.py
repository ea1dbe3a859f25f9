"""Tokens in the database."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from hitrate.auth import token_secrets
from hitrate.auth.models import Scope, Token
from hitrate.auth.permissions import READ_WRITE
from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import AUDIT, TEAMS, TOKENS, USERS
from hitrate.errors import BadRequest, NotFound
from hitrate.ids import new_id
from hitrate.teams.audit import record
from hitrate.teams.models import OPERATOR, Actor, Team, User
from hitrate.teams.settings import decode_settings

_LIFETIME_MOST_S = 100 * 366 * 86400.0
_LABEL_MOST = 200

OPERATOR_LIFETIME_S = 60.0
"""How long a token lives at most that a command makes for itself, to talk to the server."""

_ROWS = (
    sa.select(
        TOKENS,
        TEAMS.c.slug, TEAMS.c.name.label("team_name"), TEAMS.c.created_at.label("team_created"),
        TEAMS.c.settings,
        USERS.c.email, USERS.c.username, USERS.c.name.label("user_name"),
        USERS.c.created_at.label("user_created"), USERS.c.disabled_at,
        USERS.c.password_hash.is_not(None).label("has_password"),
    )
    .outerjoin(TEAMS, TOKENS.c.team_id == TEAMS.c.id)
    .outerjoin(USERS, TOKENS.c.user_id == USERS.c.id)
)  # fmt: skip


class TokenStore:
    """Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(
        self,
        team: Team | None,
        label: str,
        *,
        user: User | None = None,
        scopes: Iterable[Scope] = READ_WRITE,
        lifetime_s: float | None = None,
        actor: Actor | None = OPERATOR,
    ) -> tuple[Token, str]:
        """A new token and its secret, which is not kept.

        Of a team, of a person (for one team, or for all of theirs), or with neither the
        operator's. `actor` None leaves no trace; for the operator's short-lived ones.
        Raises BadRequest.
        """
        secret, now_ms = token_secrets.new_secret(), self._clock.now_ms()
        token = Token(
            id=new_id("tok", 16),
            team=team,
            user=user,
            label=_label(label),
            scopes=frozenset(scopes),
            created_at_ms=now_ms,
            expires_at_ms=None if lifetime_s is None else now_ms + _lifetime_ms(lifetime_s),
            revoked_at_ms=None,
            used_at_ms=None,
        )
        with transaction(self._engine) as connection:
            self._insert(connection, token, secret)
            if actor is not None:
                _record(connection, now_ms, actor, "token.create", token)
        return token, secret

    def rotate(self, token: Token, overlap_s: float, actor: Actor) -> tuple[Token, str]:
        """A token that takes the place of this one, which ends after the overlap.

        The new one lives as long as the old one was meant to. Raises BadRequest when the old one
        is not valid any more, or has been rotated before.
        """
        secret, now_ms = token_secrets.new_secret(), self._clock.now_ms()
        ends_ms = now_ms + _lifetime_ms(overlap_s)
        with transaction(self._engine) as connection:
            old = _token(connection.execute(_ROWS.where(TOKENS.c.id == token.id)).one())
            if not old.valid_at(now_ms):
                raise BadRequest("The token is expired or revoked; create a new one instead.")
            if _rotated(connection, old):
                raise BadRequest(
                    "The token was rotated before; rotate the one that took its place."
                )
            new = replace(
                old,
                id=new_id("tok", 16),
                created_at_ms=now_ms,
                expires_at_ms=(
                    None
                    if old.expires_at_ms is None
                    else now_ms + old.expires_at_ms - old.created_at_ms
                ),
                used_at_ms=None,
            )
            ends_ms = min(ends_ms, old.expires_at_ms or ends_ms)
            connection.execute(
                sa.update(TOKENS).where(TOKENS.c.id == old.id).values(expires_at=ends_ms)
            )
            self._insert(connection, new, secret)
            _record(connection, now_ms, actor, "token.rotate", new, replaces=old.id, ends=ends_ms)
        return new, secret

    def list_for_team(self, team: Team | None = None) -> list[Token]:
        """The tokens of one team, or of every team when `team` is None, by age."""
        query = _ROWS.where(TOKENS.c.user_id.is_(None), TOKENS.c.team_id.is_not(None))
        return self._list(query if team is None else query.where(TOKENS.c.team_id == team.id))

    def list_for_user(self, user: User) -> list[Token]:
        """A person's tokens, by age."""
        return self._list(_ROWS.where(TOKENS.c.user_id == user.id))

    def all(self) -> list[Token]:
        """Everybody's, by age; not the short-lived ones that commands use for themselves."""
        return self._list(
            _ROWS.where(
                sa.or_(
                    TOKENS.c.user_id.is_not(None),
                    TOKENS.c.team_id.is_not(None),
                    TOKENS.c.expires_at.is_(None),
                    TOKENS.c.expires_at - TOKENS.c.created_at > OPERATOR_LIFETIME_S * 1000,
                )
            )
        )

    def get(self, token_id: str) -> Token:
        """Raises NotFound."""
        found = self._list(_ROWS.where(TOKENS.c.id == token_id))
        if not found:
            raise NotFound(f"There is no token {token_id[:80]!a}.")
        return found[0]

    def find_all(self, token_ids: Iterable[str]) -> dict[str, Token]:
        """Those tokens that there are, by id; revoked ones too."""
        query = _ROWS.where(TOKENS.c.id.in_(list(token_ids)))
        return {token.id: token for token in self._list(query)}

    def revoke(self, token: Token, actor: Actor = OPERATOR) -> None:
        """End a token. Revoking twice is no error."""
        now_ms = self._clock.now_ms()
        change = (
            sa.update(TOKENS)
            .where(TOKENS.c.id == token.id, TOKENS.c.revoked_at.is_(None))
            .values(revoked_at=now_ms)
        )
        with transaction(self._engine) as connection:
            if connection.execute(change).rowcount:
                _record(connection, now_ms, actor, "token.revoke", token)

    def delete(self, token: Token) -> None:
        """Remove a token without a trace; for the operator's short-lived ones."""
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(TOKENS).where(TOKENS.c.id == token.id))

    def find(self, digest: bytes) -> tuple[Token, bytes] | None:
        """The token with this digest, and the digest as it is kept."""
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(_ROWS.where(TOKENS.c.hash == digest)).first()
        return None if row is None else (_token(row), row.hash)

    def save_last_used(self, used_at_ms: Mapping[str, int]) -> None:
        """When tokens were last used, by id."""
        change = (
            sa.update(TOKENS)
            .where(TOKENS.c.id == sa.bindparam("token"))
            .values(used_at=sa.bindparam("at"))
        )
        with transaction(self._engine) as connection:
            connection.execute(change, [{"token": i, "at": at} for i, at in used_at_ms.items()])

    def _list(self, query: sa.Select[Any]) -> list[Token]:
        with map_database_errors(), self._engine.connect() as connection:
            return [_token(row) for row in connection.execute(query.order_by(TOKENS.c.created_at))]

    @staticmethod
    def _insert(connection: Connection, token: Token, secret: str) -> None:
        row = {
            "id": token.id,
            "hash": token_secrets.digest(secret.encode()),
            "team_id": token.team.id if token.team else None,
            "user_id": token.user.id if token.user else None,
            "label": token.label,
            "scopes": " ".join(sorted(token.scopes)),
            "created_at": token.created_at_ms,
            "expires_at": token.expires_at_ms,
        }
        connection.execute(sa.insert(TOKENS), row)


def _record(
    connection: Connection, now_ms: int, actor: Actor, action: str, token: Token, **details: Any
) -> None:
    facts = {
        "label": token.label,
        "scopes": sorted(token.scopes),
        "user": token.user.email if token.user else None,
        "expiresAt": token.expires_at_ms,
    }
    team_id = token.team.id if token.team else None
    record(connection, now_ms, actor, action, team_id, token.id, **facts, **details)


def _rotated(connection: Connection, token: Token) -> bool:
    """Whether another token took the place of this one: the audit log remembers."""
    entry = sa.select(AUDIT.c.id).where(
        AUDIT.c.team_id.is_not_distinct_from(token.team.id if token.team else None),
        AUDIT.c.action == "token.rotate",
        sa.func.json_extract(AUDIT.c.details, "$.replaces") == token.id,
    )
    return connection.execute(entry).first() is not None


def _label(label: str) -> str:
    if len(label) > _LABEL_MOST or not (label.isprintable()):
        raise BadRequest(f"A label has at most {_LABEL_MOST} printable characters.")
    return label


def _lifetime_ms(lifetime_s: float) -> int:
    if not 0 <= lifetime_s <= _LIFETIME_MOST_S:
        raise BadRequest("A token lives at most 100 years.")
    return int(lifetime_s * 1000)


def _token(row: Row[*tuple[Any, ...]]) -> Token:
    team = user = None
    if row.team_id is not None:
        settings = decode_settings(row.settings)
        team = Team(row.team_id, row.slug, row.team_name, row.team_created, settings)
    if row.user_id is not None:
        user = User(
            row.user_id, row.email, row.username, row.user_name, row.user_created,
            row.disabled_at, row.has_password,
        )  # fmt: skip
    return Token(
        id=row.id,
        team=team,
        user=user,
        label=row.label,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        created_at_ms=row.created_at,
        expires_at_ms=row.expires_at,
        revoked_at_ms=row.revoked_at,
        used_at_ms=row.used_at,
    )
