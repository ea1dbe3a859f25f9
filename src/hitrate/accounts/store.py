"""Teams and tokens in the database. Written by the command line, read by the gate."""

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine, Row
from sqlalchemy.exc import IntegrityError

from hitrate.accounts import tokens
from hitrate.accounts.model import Team, Token
from hitrate.clock import Clock
from hitrate.database import metadata, transaction, translated
from hitrate.errors import BadRequest, NotFound

TEAMS = sa.Table(
    "teams",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("slug", sa.String, nullable=False, unique=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

TOKENS = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("team_id", sa.String, sa.ForeignKey("teams.id")),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("read_only", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
)

_TEAM_ROWS = sa.select(TEAMS.c.id, TEAMS.c.slug, TEAMS.c.name, TEAMS.c.created_at)
_TOKEN_ROWS = sa.select(
    TOKENS, TEAMS.c.slug, TEAMS.c.name, TEAMS.c.created_at.label("team_created")
).select_from(TOKENS.outerjoin(TEAMS, TOKENS.c.team_id == TEAMS.c.id))


def _team(row: Row[*tuple[Any, ...]]) -> Team:
    return Team(row.id, row.slug, row.name, row.created_at)


class AccountStore:
    """Teams and tokens. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create_team(self, slug: str, name: str | None = None) -> Team:
        """A new team. Raises BadRequest for a slug that is taken or malformed."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug):
            raise BadRequest(
                f"{slug!r} cannot be a team's slug: use up to 100 lower-case letters, digits, "
                "'-', '_' and '.', starting with a letter or a digit."
            )
        team = Team(tokens.new_team_id(), slug, name or slug, self._clock.now_ms())
        row = {"id": team.id, "slug": slug, "name": team.name, "created_at": team.created_at_ms}
        with transaction(self._engine) as connection:
            try:
                connection.execute(sa.insert(TEAMS), row)
            except IntegrityError as error:
                raise BadRequest(
                    f"There is a team {slug!r} already; choose another slug."
                ) from error
        return team

    def teams(self) -> list[Team]:
        """All teams, by slug."""
        with translated(), self._engine.connect() as connection:
            query = _TEAM_ROWS.order_by(TEAMS.c.slug)
            return [_team(row) for row in connection.execute(query)]

    def team(self, *, slug: str | None = None, team_id: str | None = None) -> Team | None:
        """The team with this slug and this id (either may be left out)."""
        query = _TEAM_ROWS
        if slug is not None:
            query = query.where(TEAMS.c.slug == slug)
        if team_id is not None:
            query = query.where(TEAMS.c.id == team_id)
        with translated(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _team(row)

    def create_token(
        self,
        team: Team | None,
        label: str,
        *,
        read_only: bool = False,
        lifetime_s: float | None = None,
    ) -> tuple[Token, str]:
        """A new token and its secret, which is not kept. `team` None makes an operator's."""
        secret, now_ms = tokens.new_secret(), self._clock.now_ms()
        expires_at_ms = None if lifetime_s is None else now_ms + int(lifetime_s * 1000)
        token = Token(tokens.new_token_id(), team, label, read_only, now_ms, expires_at_ms, None)
        row = {
            "id": token.id,
            "hash": tokens.digest(secret.encode()),
            "team_id": None if team is None else team.id,
            "label": label,
            "read_only": read_only,
            "created_at": now_ms,
            "expires_at": expires_at_ms,
        }
        with transaction(self._engine) as connection:
            connection.execute(sa.insert(TOKENS), row)
        return token, secret

    def tokens(self, team: Team | None = None) -> list[Token]:
        """The tokens of one team or of all; the operator's short-lived ones are not listed."""
        query = _TOKEN_ROWS.where(TOKENS.c.team_id.is_not(None)).order_by(TOKENS.c.created_at)
        if team is not None:
            query = query.where(TOKENS.c.team_id == team.id)
        with translated(), self._engine.connect() as connection:
            return [self._token(row) for row in connection.execute(query)]

    def revoke_token(self, token_id: str) -> None:
        """End a token. Raises NotFound; revoking twice is no error."""
        change = (
            sa.update(TOKENS)
            .where(TOKENS.c.id == token_id)
            .values(revoked_at=sa.func.coalesce(TOKENS.c.revoked_at, self._clock.now_ms()))
        )
        with transaction(self._engine) as connection:
            if connection.execute(change).rowcount == 0:
                raise NotFound(
                    f"There is no token {token_id!r}; `hitrate token list` shows the ids."
                )

    def forget_token(self, token: Token) -> None:
        """Remove a token without a trace; for the operator's short-lived ones."""
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(TOKENS).where(TOKENS.c.id == token.id))

    def find_token(self, digest: bytes) -> tuple[Token, bytes] | None:
        """The token with this digest, and the digest as it is kept."""
        with translated(), self._engine.connect() as connection:
            row = connection.execute(_TOKEN_ROWS.where(TOKENS.c.hash == digest)).first()
        return None if row is None else (self._token(row), row.hash)

    @staticmethod
    def _token(row: Row[*tuple[Any, ...]]) -> Token:
        team = None
        if row.team_id is not None:
            team = Team(row.team_id, row.slug, row.name, row.team_created)
        return Token(
            row.id,
            team,
            row.label,
            row.read_only,
            row.created_at,
            row.expires_at,
            row.revoked_at,
        )
