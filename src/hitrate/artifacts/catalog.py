"""Read-only views of the stored artifacts, for reports; and the producer of each.

The producer is the session of the run that uploaded the artifact. Uploads do not name their run,
so `hitrate.artifact_attribution` sets the producer after the run's events have arrived.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Engine

from hitrate.artifacts.index import QUERY_BATCH_SIZE
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import ARTIFACTS

_A = ARTIFACTS.c

ORDERS: dict[str, tuple[sa.ColumnElement[int], ...]] = {
    "newest": (_A.created_at.desc(),),
    "oldest": (_A.created_at,),
    "largest": (_A.size_bytes.desc(),),
    "smallest": (_A.size_bytes,),
    "recent": (_A.used_at.desc(),),
    "idle": (_A.used_at,),
}
"""Sort orders of a list of artifacts: by upload time, size or last use."""

_COLUMNS = (
    _A.hash, _A.size_bytes, _A.duration_ms, _A.sha, _A.dirty_hash, _A.ci, _A.interactive,
    _A.agent, _A.token_id, _A.created_at, _A.used_at, _A.producer,
)  # fmt: skip


class CatalogEntry(NamedTuple):
    """Metadata of a stored artifact.

    `used_at_ms` is the time of the last download, or of the upload if there was none. `producer`
    is None while it is unknown.
    """

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
    producer: str | None


class UnattributedArtifact(NamedTuple):
    """An artifact whose producer is not known yet."""

    team_id: str
    hash: str
    token_id: str
    created_at_ms: int


class ArtifactCatalog:
    """Lists artifacts, on any thread, and sets their producers, on one.

    All methods may raise DatabaseError.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_many(self, team_id: str, hashes: Sequence[str]) -> dict[str, CatalogEntry]:
        """Return the artifacts of a team with these hashes, by hash. Missing ones are left out."""
        entries = {}
        for start in range(0, len(hashes), QUERY_BATCH_SIZE):
            batch = hashes[start : start + QUERY_BATCH_SIZE]
            query = sa.select(*_COLUMNS).where(_A.team_id == team_id, _A.hash.in_(batch))
            entries.update({entry.hash: entry for entry in self._fetch(query)})
        return entries

    def page(self, team_id: str, order: str, limit: int, offset: int) -> list[CatalogEntry]:
        """Return one page of a team's artifacts, in one of ORDERS."""
        query = (
            sa.select(*_COLUMNS)
            .where(_A.team_id == team_id)
            .order_by(*ORDERS[order], _A.hash)
            .limit(limit)
            .offset(offset)
        )
        return self._fetch(query)

    def hashes(self, team_id: str) -> list[str]:
        """Return the hashes of all artifacts of a team."""
        query = sa.select(_A.hash).where(_A.team_id == team_id)
        with map_database_errors(), self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def list_after(self, team_id: str, last_hash: str, limit: int) -> list[CatalogEntry]:
        """Return the artifacts of a team that follow `last_hash`, ordered by hash."""
        query = (
            sa.select(*_COLUMNS)
            .where(_A.team_id == team_id, _A.hash > last_hash)
            .order_by(_A.hash)
            .limit(limit)
        )
        return self._fetch(query)

    def unattributed(self, since_ms: int, limit: int) -> list[UnattributedArtifact]:
        """Return artifacts without a producer that were uploaded since a time, newest first."""
        query = (
            sa.select(_A.team_id, _A.hash, _A.token_id, _A.created_at)
            # `used_at` is never before `created_at`, and only `used_at` has an index.
            .where(_A.used_at >= since_ms, _A.created_at >= since_ms, _A.producer.is_(None))
            .order_by(_A.created_at.desc())
            .limit(limit)
        )
        with map_database_errors(), self._engine.connect() as connection:
            return [UnattributedArtifact(*row) for row in connection.execute(query)]

    def set_producers(self, producers: Sequence[tuple[UnattributedArtifact, str]]) -> None:
        """Set the producers (session ids) of artifacts, except those replaced in the meantime."""
        statement = (
            sa.update(ARTIFACTS)
            .where(
                _A.team_id == sa.bindparam("team"),
                _A.hash == sa.bindparam("key"),
                _A.created_at == sa.bindparam("uploaded_at"),
            )
            .values({_A.producer: sa.bindparam("session")})
        )
        rows = [
            {
                "team": artifact.team_id,
                "key": artifact.hash,
                "uploaded_at": artifact.created_at_ms,
                "session": session,
            }
            for artifact, session in producers
        ]
        if rows:
            with transaction(self._engine) as connection:
                connection.execute(statement, rows)

    def _fetch(self, query: sa.Select[Any]) -> list[CatalogEntry]:
        with map_database_errors(), self._engine.connect() as connection:
            return [CatalogEntry._make(row) for row in connection.execute(query)]
