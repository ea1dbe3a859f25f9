"""Tokens: the format of their secrets, and their records in the database.

A secret is `hr_`, 32 random base-62 characters (190 bits), and 6 characters that are their CRC-32.
So secret scanners recognize it, and a mistyped one is refused without a database lookup.
"""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from hitrate.auth.models import Scope, Token, TokenOrigin
from hitrate.auth.permissions import READ_WRITE
from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import TEAMS, TOKENS, USERS
from hitrate.errors import BadRequest, NotFound
from hitrate.ids import ALPHABET, new_id, random_text
from hitrate.teams.audit import record
from hitrate.teams.models import OPERATOR, Actor, Team, User
from hitrate.teams.settings import decode_settings

_PREFIX = "hr_"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def new_secret() -> str:
    """Generate a secret."""
    body = random_text(_RANDOM_LENGTH)
    return _PREFIX + body + _checksum(body)


def well_formed(secret: bytes) -> bool:
    """Return whether a secret has the right prefix, length and checksum."""
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        return False
    body, checksum = text[len(_PREFIX) : -_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
    has_form = text.startswith(_PREFIX) and len(body) == _RANDOM_LENGTH
    return has_form and _checksum(body) == checksum


def digest(secret: bytes) -> bytes:
    """Return the SHA-256 that is stored instead of the secret.

    A slow password hash is unnecessary: 190 random bits cannot be guessed.
    """
    return hashlib.sha256(secret).digest()


MAX_LABEL_LENGTH = 200
_MAX_LIFETIME_S = 100 * 366 * 86400.0

COMMAND_TOKEN_LIFETIME_S = 60.0
"""Maximum lifetime of the operator token that a command creates to call the server."""

_SELECT_TOKENS = (
    sa.select(
        TOKENS,
        TEAMS.c.slug, TEAMS.c.name.label("team_name"), TEAMS.c.created_at.label("team_created_at"),
        TEAMS.c.settings,
        USERS.c.email, USERS.c.username, USERS.c.name.label("user_name"),
        USERS.c.created_at.label("user_created_at"), USERS.c.disabled_at,
        USERS.c.password_hash.is_not(None).label("has_password"),
    )
    .outerjoin(TEAMS, TOKENS.c.team_id == TEAMS.c.id)
    .outerjoin(USERS, TOKENS.c.user_id == USERS.c.id)
)  # fmt: skip


class TokenStore:
    """Creates, rotates, revokes and finds tokens. Safe to use from several threads and processes.

    Only the digest of a secret is stored.
    """

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
        origin: TokenOrigin = TokenOrigin.MANUAL,
    ) -> tuple[Token, str]:
        """Create a token of a team, of a user, or of the operator. Returns it and its secret.

        Without `lifetime_s` the token does not expire. With `actor` None the audit log records
        nothing; commands do so for their short-lived operator tokens. Raises BadRequest.
        """
        secret, now_ms = new_secret(), self._clock.now_ms()
        token = Token(
            id=new_id("tok", 16),
            team=team,
            user=user,
            label=_validate_label(label),
            scopes=frozenset(scopes),
            created_at_ms=now_ms,
            expires_at_ms=None if lifetime_s is None else now_ms + _lifetime_ms(lifetime_s),
            revoked_at_ms=None,
            used_at_ms=None,
            origin=origin,
        )
        with transaction(self._engine) as connection:
            self._insert(connection, token, secret)
            if actor is not None:
                _record(connection, now_ms, actor, "token.create", token)
        return token, secret

    def rotate(self, token: Token, overlap_s: float, actor: Actor) -> tuple[Token, str]:
        """Replace a token. Returns its successor and the successor's secret.

        The replaced token expires after the overlap. The successor has the lifetime that the
        replaced token had when it was created. Raises BadRequest if the token is no longer valid
        or has a successor already.
        """
        secret, now_ms = new_secret(), self._clock.now_ms()
        overlap_end_ms = now_ms + _lifetime_ms(overlap_s)
        with transaction(self._engine) as connection:
            query = _SELECT_TOKENS.where(TOKENS.c.id == token.id)
            old = _token_from_row(connection.execute(query).one())
            if not old.valid_at(now_ms):
                raise BadRequest("The token is expired or revoked; create a new one instead.")
            if old.replaced_by is not None:
                raise BadRequest(
                    f"The token was rotated before; rotate its successor {old.replaced_by} instead."
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
            expires_at_ms = min(overlap_end_ms, old.expires_at_ms or overlap_end_ms)
            connection.execute(
                sa.update(TOKENS)
                .where(TOKENS.c.id == old.id)
                .values(expires_at=expires_at_ms, replaced_by=new.id)
            )
            self._insert(connection, new, secret)
            _record(
                connection, now_ms, actor, "token.rotate", new,
                replaces=old.id, ends=expires_at_ms,
            )  # fmt: skip
        return new, secret

    def list_for_team(self, team: Team | None = None) -> list[Token]:
        """List the tokens of a team, or of every team if `team` is None, oldest first.

        The tokens of the team's members are not included.
        """
        query = _SELECT_TOKENS.where(TOKENS.c.user_id.is_(None), TOKENS.c.team_id.is_not(None))
        return self._list(query if team is None else query.where(TOKENS.c.team_id == team.id))

    def list_for_user(self, user: User) -> list[Token]:
        """List the tokens of a user, oldest first."""
        return self._list(_SELECT_TOKENS.where(TOKENS.c.user_id == user.id))

    def all(self) -> list[Token]:
        """List all tokens, oldest first, except the short-lived ones that commands create."""
        return self._list(
            _SELECT_TOKENS.where(
                sa.or_(
                    TOKENS.c.user_id.is_not(None),
                    TOKENS.c.team_id.is_not(None),
                    TOKENS.c.expires_at.is_(None),
                    TOKENS.c.expires_at - TOKENS.c.created_at > COMMAND_TOKEN_LIFETIME_S * 1000,
                )
            )
        )

    def get(self, token_id: str) -> Token:
        """Return the token with this id. Raises NotFound."""
        tokens = self._list(_SELECT_TOKENS.where(TOKENS.c.id == token_id))
        if not tokens:
            raise NotFound(f"There is no token {token_id[:80]!a}.")
        return tokens[0]

    def find_all(self, token_ids: Iterable[str]) -> dict[str, Token]:
        """Return the tokens with these ids, by id. Unknown ids are left out."""
        query = _SELECT_TOKENS.where(TOKENS.c.id.in_(list(token_ids)))
        return {token.id: token for token in self._list(query)}

    def find(self, digest: bytes) -> tuple[Token, bytes] | None:
        """Return the token whose secret has this digest, and the stored digest."""
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(_SELECT_TOKENS.where(TOKENS.c.hash == digest)).first()
        return None if row is None else (_token_from_row(row), row.hash)

    def revoke(self, token: Token, actor: Actor = OPERATOR) -> None:
        """Revoke a token. Does nothing if it is revoked already."""
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
        """Delete a token without an audit entry. For the short-lived tokens of commands."""
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(TOKENS).where(TOKENS.c.id == token.id))

    def save_last_used(self, used_at_ms: Mapping[str, int]) -> None:
        """Store when tokens were last used, by token id."""
        change = (
            sa.update(TOKENS)
            .where(TOKENS.c.id == sa.bindparam("token"))
            .values(used_at=sa.bindparam("at"))
        )
        rows = [{"token": token_id, "at": at_ms} for token_id, at_ms in used_at_ms.items()]
        with transaction(self._engine) as connection:
            connection.execute(change, rows)

    def _list(self, query: sa.Select[Any]) -> list[Token]:
        with map_database_errors(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(TOKENS.c.created_at))
            return [_token_from_row(row) for row in rows]

    @staticmethod
    def _insert(connection: Connection, token: Token, secret: str) -> None:
        row = {
            "id": token.id,
            "hash": digest(secret.encode()),
            "team_id": token.team.id if token.team else None,
            "user_id": token.user.id if token.user else None,
            "label": token.label,
            "scopes": " ".join(sorted(token.scopes)),
            "created_at": token.created_at_ms,
            "expires_at": token.expires_at_ms,
            "origin": token.origin.value,
        }
        connection.execute(sa.insert(TOKENS), row)


def _record(
    connection: Connection, now_ms: int, actor: Actor, action: str, token: Token, **details: Any
) -> None:
    description = {
        "label": token.label,
        "scopes": sorted(token.scopes),
        "user": token.user.email if token.user else None,
        "expiresAt": token.expires_at_ms,
    }
    team_id = token.team.id if token.team else None
    record(connection, now_ms, actor, action, team_id, token.id, **description, **details)


def _validate_label(label: str) -> str:
    if len(label) > MAX_LABEL_LENGTH or not label.isprintable():
        raise BadRequest(f"A label has at most {MAX_LABEL_LENGTH} printable characters.")
    return label


def _lifetime_ms(lifetime_s: float) -> int:
    if not 0 <= lifetime_s <= _MAX_LIFETIME_S:
        raise BadRequest("A token expires after at most 100 years.")
    return int(lifetime_s * 1000)


def _token_from_row(row: Row[*tuple[Any, ...]]) -> Token:
    team = user = None
    if row.team_id is not None:
        settings = decode_settings(row.settings)
        team = Team(row.team_id, row.slug, row.team_name, row.team_created_at, settings)
    if row.user_id is not None:
        user = User(
            row.user_id, row.email, row.username, row.user_name, row.user_created_at,
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
        origin=TokenOrigin(row.origin),
        replaced_by=row.replaced_by,
    )
