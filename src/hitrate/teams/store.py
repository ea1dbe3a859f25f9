"""Teams in the database, and changes of their names and settings."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import IntegrityError

from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import TEAMS
from hitrate.errors import BadRequest, Forbidden
from hitrate.ids import new_id
from hitrate.teams.audit import record
from hitrate.teams.models import OPERATOR, Actor, Team
from hitrate.teams.settings import TeamSettings, decode_settings, encode_settings

MAX_NAME_LENGTH = 100

SettingsChange = Callable[[TeamSettings], TeamSettings]
"""Returns the new settings for the current ones. Raises BadRequest to change nothing."""


def team_from_row(row: Row[*tuple[Any, ...]]) -> Team:
    """Convert a row with all columns of the table `teams`."""
    return Team(row.id, row.slug, row.name, row.created_at, decode_settings(row.settings))


def validate_name(name: str) -> str:
    """Return the display name of a team or user. Raises BadRequest for an invalid one."""
    if not 1 <= len(name.strip()) <= MAX_NAME_LENGTH or not name.isprintable():
        raise BadRequest(f"A name has 1 to {MAX_NAME_LENGTH} printable characters.")
    return name


class TeamStore:
    """Reads and changes teams. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, slug: str, name: str | None = None, actor: Actor = OPERATOR) -> Team:
        """Create a team. Raises BadRequest for a slug that is in use or malformed."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug):
            raise BadRequest(
                f"{slug!r} cannot be a team's slug: use up to 100 lower-case letters, digits, "
                "'-', '_' and '.', starting with a letter or a digit."
            )
        now_ms = self._clock.now_ms()
        team = Team(new_id("team", 24), slug, validate_name(name or slug), now_ms)
        row = {"id": team.id, "slug": slug, "name": team.name, "created_at": now_ms}
        with transaction(self._engine) as connection:
            try:
                connection.execute(sa.insert(TEAMS), row)
            except IntegrityError as error:
                raise BadRequest(
                    f"There is a team {slug!r} already; choose another slug."
                ) from error
            record(connection, now_ms, actor, "team.create", team.id, slug, name=team.name)
        return team

    def all(self) -> list[Team]:
        """List all teams, ordered by slug."""
        with map_database_errors(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(TEAMS).order_by("slug"))
            return [team_from_row(row) for row in rows]

    def find(self, *, slug: str | None = None, team_id: str | None = None) -> Team | None:
        """Find the team with this slug and this id; either may be left out."""
        query = sa.select(TEAMS)
        if slug is not None:
            query = query.where(TEAMS.c.slug == slug)
        if team_id is not None:
            query = query.where(TEAMS.c.id == team_id)
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else team_from_row(row)

    def rename(self, team: Team, name: str, actor: Actor) -> None:
        """Change a team's display name. Slug and id stay. Raises BadRequest."""
        with transaction(self._engine) as connection:
            self._rename(connection, team.id, name, actor)

    def change(
        self,
        team: Team,
        change: SettingsChange,
        actor: Actor,
        action: str,
        *,
        name: str | None = None,
    ) -> Team:
        """Change a team's settings, and its display name if one is given, in one transaction.

        `change` receives the current settings, so concurrent changes do not overwrite each other.
        `action` is recorded in the audit log if the settings differ afterwards. Returns the team
        after the change. Raises BadRequest, and then changes nothing.
        """
        with transaction(self._engine) as connection:
            if name is not None:
                self._rename(connection, team.id, name, actor)
            old = self.in_transaction(connection, team.id).settings
            new = change(old)
            if new != old:
                connection.execute(
                    sa.update(TEAMS)
                    .where(TEAMS.c.id == team.id)
                    .values(settings=encode_settings(new))
                )
                before, after = _differences(old, new)
                record(
                    connection, self._clock.now_ms(), actor, action, team.id, team.slug,
                    before=before, after=after,
                )  # fmt: skip
            return self.in_transaction(connection, team.id)

    @staticmethod
    def in_transaction(connection: Connection, team_id: str) -> Team:
        """Read a team within a transaction. Raises Forbidden if it does not exist."""
        row = connection.execute(sa.select(TEAMS).where(TEAMS.c.id == team_id)).first()
        if row is None:
            raise Forbidden(f"There is no team {team_id!r}.")
        return team_from_row(row)

    def _rename(self, connection: Connection, team_id: str, name: str, actor: Actor) -> None:
        old = self.in_transaction(connection, team_id)
        if old.name != validate_name(name):
            connection.execute(sa.update(TEAMS).where(TEAMS.c.id == team_id).values(name=name))
            record(
                connection, self._clock.now_ms(), actor, "team.rename", team_id, old.slug,
                before=old.name, after=name,
            )  # fmt: skip


def _differences(old: TeamSettings, new: TeamSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the differing values: before and after the change."""
    before, after = _flatten(old), _flatten(new)
    changed = [name for name in after if after[name] != before[name]]
    return {name: before[name] for name in changed}, {name: after[name] for name in changed}


def _flatten(settings: TeamSettings) -> dict[str, Any]:
    """Return the settings by wire name; a nested value has a name such as `limits.requests`."""
    flat: dict[str, Any] = {}
    for field in msgspec.structs.fields(TeamSettings):
        value = getattr(settings, field.name)
        if isinstance(value, msgspec.Struct):
            for part in msgspec.structs.fields(value):
                flat[f"{field.encode_name}.{part.encode_name}"] = getattr(value, part.name)
        else:
            flat[field.encode_name] = value
    return flat
