"""Teams in the database, and changes of their settings."""

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

Change = Callable[[TeamSettings], TeamSettings]


def team_of(row: Row[*tuple[Any, ...]]) -> Team:
    """From a row with all of the table's columns."""
    return Team(row.id, row.slug, row.name, row.created_at, decode_settings(row.settings))


class TeamStore:
    """Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, slug: str, name: str | None = None, actor: Actor = OPERATOR) -> Team:
        """A new team. Raises BadRequest for a slug that is taken or malformed."""
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
        """All teams, by slug."""
        with map_database_errors(), self._engine.connect() as connection:
            return [team_of(row) for row in connection.execute(sa.select(TEAMS).order_by("slug"))]

    def find(self, *, slug: str | None = None, team_id: str | None = None) -> Team | None:
        """The team with this slug and this id (either may be left out)."""
        query = sa.select(TEAMS)
        if slug is not None:
            query = query.where(TEAMS.c.slug == slug)
        if team_id is not None:
            query = query.where(TEAMS.c.id == team_id)
        with map_database_errors(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else team_of(row)

    def rename(self, team: Team, name: str, actor: Actor) -> None:
        """Change what people call a team; slug and id stay."""
        with transaction(self._engine) as connection:
            old = self.in_transaction(connection, team.id).name
            if old != validate_name(name):
                connection.execute(sa.update(TEAMS).where(TEAMS.c.id == team.id).values(name=name))
                record(
                    connection, self._clock.now_ms(), actor, "team.rename", team.id, team.slug,
                    before=old, after=name,
                )  # fmt: skip

    def change(self, team: Team, change: Change, actor: Actor, action: str) -> Team:
        """The team after `change` was made to its settings as they are now.

        Two changes at once both count. What stays as it was is not written down.
        """
        with transaction(self._engine) as connection:
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
        """The team as it stands in a transaction."""
        row = connection.execute(sa.select(TEAMS).where(TEAMS.c.id == team_id)).first()
        if row is None:
            raise Forbidden(f"There is no team {team_id!r}.")
        return team_of(row)


def validate_name(name: str) -> str:
    """A name that people may give. Raises BadRequest."""
    if not 1 <= len(name.strip()) <= 100 or not name.isprintable():
        raise BadRequest("A name has 1 to 100 printable characters.")
    return name


def _differences(old: TeamSettings, new: TeamSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, as it was and as it is."""
    before, after = _flat(old), _flat(new)
    shown = [name for name in after if after[name] != before[name]]
    return {name: before[name] for name in shown}, {name: after[name] for name in shown}


def _flat(settings: TeamSettings) -> dict[str, Any]:
    """`limits.requests` for a value within a value."""
    flat: dict[str, Any] = {}
    for field in msgspec.structs.fields(TeamSettings):
        value = getattr(settings, field.name)
        if isinstance(value, msgspec.Struct):
            for part in msgspec.structs.fields(value):
                flat[f"{field.encode_name}.{part.encode_name}"] = getattr(value, part.name)
        else:
            flat[field.encode_name] = value
    return flat
