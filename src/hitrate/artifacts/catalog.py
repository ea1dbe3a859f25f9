"""The stored artifacts as people look at them: in lists, with who made them.

`made_by`, the session of the run that made an artifact, is the one thing known only later: no
upload says its run, so it is noted when the run's events have come.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Engine

from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import ARTIFACTS

_MANY = 500
_A = ARTIFACTS.c

ORDERS: dict[str, tuple[sa.ColumnElement[int], ...]] = {
    "newest": (_A.created_at.desc(),),
    "oldest": (_A.created_at,),
    "largest": (_A.size_bytes.desc(),),
    "smallest": (_A.size_bytes,),
    "recent": (_A.used_at.desc(),),
    "idle": (_A.used_at,),
}
"""What artifacts may be listed by: when they were made, their size, their last use."""

_COLUMNS = (
    _A.hash, _A.size_bytes, _A.duration_ms, _A.sha, _A.dirty_hash, _A.ci, _A.interactive,
    _A.agent, _A.token_id, _A.created_at, _A.used_at, _A.made_by,
)  # fmt: skip


class Listed(NamedTuple):
    """A stored artifact, without its body. `used_at_ms`: the last download, or the upload."""

    hash: str
    size_bytes: int
    duration_ms: float | None
    sha: str | None
    dirty_hash: str | None
    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str
    created_at_ms: int
    used_at_ms: int
    made_by: str | None


class Upload(NamedTuple):
    """An artifact whose run is not known yet."""

    team_id: str
    hash: str
    token_id: str
    created_at_ms: int


class ArtifactCatalog:
    """Reads from any thread; notes from one. Everything may raise DatabaseError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_many(self, team_id: str, hashes: Sequence[str]) -> dict[str, Listed]:
        """Those of a team's artifacts that are stored, by hash."""
        found = {}
        for start in range(0, len(hashes), _MANY):
            some = hashes[start : start + _MANY]
            query = sa.select(*_COLUMNS).where(_A.team_id == team_id, _A.hash.in_(some))
            found.update({one.hash: one for one in self._rows(query)})
        return found

    def page(self, team_id: str, order: str, limit: int, offset: int) -> list[Listed]:
        """Some of a team's artifacts, in one of ORDERS."""
        query = (
            sa.select(*_COLUMNS)
            .where(_A.team_id == team_id)
            .order_by(*ORDERS[order], _A.hash)
            .limit(limit)
            .offset(offset)
        )
        return self._rows(query)

    def hashes(self, team_id: str) -> list[str]:
        """Of all that a team stores."""
        query = sa.select(_A.hash).where(_A.team_id == team_id)
        with map_database_errors(), self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def after(self, team_id: str, last_hash: str, limit: int) -> list[Listed]:
        """A team's artifacts by hash, those behind one."""
        query = (
            sa.select(*_COLUMNS)
            .where(_A.team_id == team_id, _A.hash > last_hash)
            .order_by(_A.hash)
            .limit(limit)
        )
        return self._rows(query)

    def without_maker(self, since_ms: int, limit: int) -> list[Upload]:
        """Uploads since a moment whose run is not known, newest first."""
        query = (
            sa.select(_A.team_id, _A.hash, _A.token_id, _A.created_at)
            # Nothing is used before it is made; only this one has an index.
            .where(_A.used_at >= since_ms, _A.created_at >= since_ms, _A.made_by.is_(None))
            .order_by(_A.created_at.desc())
            .limit(limit)
        )
        with map_database_errors(), self._engine.connect() as connection:
            return [Upload(*row) for row in connection.execute(query)]

    def note_makers(self, makers: Sequence[tuple[Upload, str]]) -> None:
        """Note the sessions of the runs that made artifacts, unless they were replaced since."""
        change = (
            sa.update(ARTIFACTS)
            .where(
                _A.team_id == sa.bindparam("team"),
                _A.hash == sa.bindparam("key"),
                _A.created_at == sa.bindparam("made"),
            )
            .values(made_by=sa.bindparam("session"))
        )
        rows = [
            {"team": one.team_id, "key": one.hash, "made": one.created_at_ms, "session": session}
            for one, session in makers
        ]
        if rows:
            with transaction(self._engine) as connection:
                connection.execute(change, rows)

    def _rows(self, query: sa.Select[Any]) -> list[Listed]:
        with map_database_errors(), self._engine.connect() as connection:
            return [Listed._make(row) for row in connection.execute(query)]
