"""Members of teams. A team with owners always has one who is not disabled."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import IntegrityError

from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import MEMBERS, TEAMS, TOKENS, USERS
from hitrate.errors import BadRequest, NotFound
from hitrate.roles import Role
from hitrate.teams.audit import record
from hitrate.teams.models import Actor, Member, Team, User
from hitrate.teams.store import team_from_row
from hitrate.teams.users import user_from_row

_LAST_OWNER = (
    "This is the team's last owner who is not disabled. Give another member the role OWNER first."
)
_MEMBERSHIP = (MEMBERS.c.role, MEMBERS.c.remote_caching, MEMBERS.c.created_at.label("since"))
_WIRE_NAMES = {"role": "role", "remote_caching": "remoteCaching"}
_Row = Row[*tuple[Any, ...]]


def find_membership(memberships: Iterable[Member], team: str) -> Member | None:
    """Find the membership in the team with this id or slug."""
    for member in memberships:
        if team in (member.team.id, member.team.slug):
            return member
    return None


class MemberStore:
    """Reads and changes memberships. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, team: Team, user: User, role: Role, actor: Actor) -> None:
        """Add a user to a team. Raises BadRequest if they are a member already."""
        row = {
            "team_id": team.id,
            "user_id": user.id,
            "role": role.value,
            "remote_caching": True,
            "created_at": self._clock.now_ms(),
        }
        with transaction(self._engine) as connection:
            try:
                connection.execute(sa.insert(MEMBERS), row)
            except IntegrityError as error:
                raise BadRequest(f"{user.email} is in the team {team.slug} already.") from error
            self._record(connection, actor, "member.add", team, user.email, role=role.value)

    def change(
        self,
        team: Team,
        user_id: str,
        actor: Actor,
        *,
        role: Role | None = None,
        remote_caching: bool | None = None,
    ) -> None:
        """Change a member's role, or whether they may use the cache.

        Raises NotFound, or BadRequest for the last owner.
        """
        with transaction(self._engine) as connection:
            old = _member_row(connection, team, user_id)
            after: dict[str, object] = {}
            if role is not None and role.value != old.role:
                _require_other_owner(connection, team, old)
                after["role"] = role.value
            if remote_caching is not None and remote_caching != old.remote_caching:
                after["remote_caching"] = remote_caching
            if after:
                connection.execute(
                    sa.update(MEMBERS).where(_is_member(team.id, user_id)).values(after)
                )
                before = {_WIRE_NAMES[name]: getattr(old, name) for name in after}
                self._record(
                    connection, actor, "member.change", team, old.email,
                    before=before, after={_WIRE_NAMES[name]: new for name, new in after.items()},
                )  # fmt: skip

    def remove(self, team: Team, user_id: str, actor: Actor) -> None:
        """Remove a member and revoke the tokens that they have for this team only.

        Raises NotFound, or BadRequest for the last owner.
        """
        with transaction(self._engine) as connection:
            old = _member_row(connection, team, user_id)
            _require_other_owner(connection, team, old)
            connection.execute(sa.delete(MEMBERS).where(_is_member(team.id, user_id)))
            revoked = connection.execute(
                sa.update(TOKENS)
                .where(
                    TOKENS.c.team_id == team.id,
                    TOKENS.c.user_id == user_id,
                    TOKENS.c.revoked_at.is_(None),
                )
                .values(revoked_at=self._clock.now_ms())
                .returning(TOKENS.c.id)
            )
            self._record(
                connection, actor, "member.remove", team, old.email,
                role=old.role, revokedTokens=sorted(revoked.scalars()),
            )  # fmt: skip

    def list_for_team(self, team: Team) -> list[Member]:
        """List the members of a team, ordered by email address."""
        query = (
            sa.select(USERS, *_MEMBERSHIP)
            .join(MEMBERS, MEMBERS.c.user_id == USERS.c.id)
            .where(MEMBERS.c.team_id == team.id)
            .order_by(USERS.c.email)
        )  # fmt: skip
        with map_database_errors(), self._engine.connect() as connection:
            return [
                Member(team, user_from_row(row), Role(row.role), row.remote_caching, row.since)
                for row in connection.execute(query)
            ]

    def list_for_user(self, user: User) -> list[Member]:
        """List the memberships of a user, ordered by team slug."""
        query = (
            sa.select(TEAMS, *_MEMBERSHIP)
            .join(MEMBERS, MEMBERS.c.team_id == TEAMS.c.id)
            .where(MEMBERS.c.user_id == user.id)
            .order_by(TEAMS.c.slug)
        )  # fmt: skip
        with map_database_errors(), self._engine.connect() as connection:
            return [
                Member(team_from_row(row), user, Role(row.role), row.remote_caching, row.since)
                for row in connection.execute(query)
            ]

    def _record(
        self,
        connection: Connection,
        actor: Actor,
        action: str,
        team: Team,
        email: str,
        **details: Any,
    ) -> None:
        record(connection, self._clock.now_ms(), actor, action, team.id, email, **details)


def _is_member(team_id: str, user_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(MEMBERS.c.team_id == team_id, MEMBERS.c.user_id == user_id)


def _member_row(connection: Connection, team: Team, user_id: str) -> _Row:
    query = (
        sa.select(MEMBERS, USERS.c.email)
        .join(USERS, USERS.c.id == MEMBERS.c.user_id)
        .where(_is_member(team.id, user_id))
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"Nobody with the id {user_id[:80]!a} is in the team {team.slug}.")
    return row


def _require_other_owner(connection: Connection, team: Team, member: _Row) -> None:
    """Raise BadRequest if the member is the team's last owner who is not disabled."""
    others = (
        sa.select(MEMBERS.c.user_id)
        .join(USERS, USERS.c.id == MEMBERS.c.user_id)
        .where(
            MEMBERS.c.team_id == team.id,
            MEMBERS.c.role == Role.OWNER.value,
            MEMBERS.c.user_id != member.user_id,
            USERS.c.disabled_at.is_(None),
        )
    )
    if member.role == Role.OWNER and connection.execute(others).first() is None:
        raise BadRequest(_LAST_OWNER)
