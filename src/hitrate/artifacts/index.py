"""Database index of artifacts: the metadata, the body and the last use of each key.

Reads may run on any thread, writes on one. Rows that were recently read or written are cached in
memory. The cache is updated only after a commit, so it is never ahead of the database.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from hitrate.artifacts.models import Artifact, ArtifactKey, BlobRef, CacheUsage
from hitrate.db.engine import map_database_errors
from hitrate.db.tables import ARTIFACTS

QUERY_BATCH_SIZE = 500
_MAX_CACHED = 20_000

# A group's rows are passed as one JSON value, so that one statement writes them all. With one
# statement per row, each would release and acquire the GIL again.
_COLUMNS = [column.name for column in ARTIFACTS.c]
_VALUES = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_COLUMNS)))
_ASSIGNMENTS = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])
_UPSERT = (
    f"INSERT INTO artifacts ({', '.join(_COLUMNS)}) "  # noqa: S608  # reason: our own names
    f"SELECT {_VALUES} FROM json_each(?) WHERE true "
    f"ON CONFLICT (team_id, hash) DO UPDATE SET {_ASSIGNMENTS}"
)
_SELECT_REPLACED = """
SELECT team_id, hash, blob, size_bytes FROM artifacts
WHERE (team_id, hash) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
"""
_BLOB_REF_COLUMNS = (
    ARTIFACTS.c.team_id,
    ARTIFACTS.c.hash,
    ARTIFACTS.c.blob,
    ARTIFACTS.c.size_bytes,
)


class ArtifactIndex:
    """Reads and writes artifact rows. Methods that take a connection write; one thread calls them.

    Reads raise SQLAlchemy's errors unless documented otherwise.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cache: dict[ArtifactKey, Artifact] = {}
        self._version = 0
        self._lock = threading.Lock()

    def cached(self, key: ArtifactKey) -> Artifact | None:
        """Return the artifact if it is in the memory cache."""
        return self._cache.get(key)

    def find(self, key: ArtifactKey) -> Artifact | None:
        """Read the artifact from the database and add it to the cache."""
        version = self._version
        query = sa.select(ARTIFACTS).where(
            ARTIFACTS.c.team_id == key.team_id, ARTIFACTS.c.hash == key.hash
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        artifact = _artifact(row)
        with self._lock:
            if version == self._version:  # else a commit since then may have made this row stale
                self._add_to_cache(artifact)
        return artifact

    def find_many(self, team_id: str, hashes: Sequence[str]) -> dict[str, Artifact]:
        """Return the artifacts of a team with these hashes, by hash. Missing ones are left out."""
        artifacts: dict[str, Artifact] = {}
        with self._engine.connect() as connection:
            for batch in _batches(hashes):
                query = sa.select(ARTIFACTS).where(
                    ARTIFACTS.c.team_id == team_id, ARTIFACTS.c.hash.in_(batch)
                )
                artifacts.update((row.hash, _artifact(row)) for row in connection.execute(query))
        return artifacts

    def upsert(self, connection: Connection, artifacts: Sequence[Artifact]) -> list[BlobRef]:
        """Add or replace rows; return the bodies that were replaced.

        If two artifacts have the same key, the last one wins.
        """
        rows = (msgspec.json.encode([_values(artifact) for artifact in artifacts]).decode(),)
        replaced = connection.exec_driver_sql(_SELECT_REPLACED, rows).all()
        connection.exec_driver_sql(_UPSERT, rows)
        return [_blob_ref(row) for row in replaced]

    def delete(self, connection: Connection, refs: Iterable[BlobRef]) -> list[BlobRef]:
        """Delete rows that still refer to the same body; return the deleted ones."""
        deleted = []
        for ref in refs:
            statement = sa.delete(ARTIFACTS).where(
                ARTIFACTS.c.team_id == ref.key.team_id,
                ARTIFACTS.c.hash == ref.key.hash,
                ARTIFACTS.c.blob == ref.blob,
            )
            if connection.execute(statement).rowcount:
                deleted.append(ref)
        return deleted

    def delete_team(self, connection: Connection, team_id: str) -> list[BlobRef]:
        """Delete all rows of a team; return their bodies."""
        in_team = ARTIFACTS.c.team_id == team_id
        rows = connection.execute(sa.select(*_BLOB_REF_COLUMNS).where(in_team)).all()
        connection.execute(sa.delete(ARTIFACTS).where(in_team))
        return [_blob_ref(row) for row in rows]

    def touch(self, connection: Connection, used_at_ms: Mapping[ArtifactKey, int]) -> None:
        """Set the time of the last use of each artifact."""
        statement = (
            sa.update(ARTIFACTS)
            .where(
                ARTIFACTS.c.team_id == sa.bindparam("team"),
                ARTIFACTS.c.hash == sa.bindparam("key"),
            )
            .values(used_at=sa.bindparam("at"))
        )
        # A copy, because a reader may add one more use while this runs.
        uses = list(used_at_ms.items())
        rows = [{"team": k.team_id, "key": k.hash, "at": at} for k, at in uses]
        if rows:
            connection.execute(statement, rows)

    def update_cache(self, saved: Iterable[Artifact], removed: Iterable[ArtifactKey]) -> None:
        """Apply a committed transaction to the cache."""
        with self._lock:
            self._version += 1
            for key in removed:
                self._cache.pop(key, None)
            for artifact in saved:
                self._add_to_cache(artifact)

    def durations(self, team_id: str, hashes: Sequence[str]) -> dict[str, float]:
        """Return the durations in ms by hash. Artifacts without a duration are left out.

        Raises DatabaseError.
        """
        durations: dict[str, float] = {}
        for batch in _batches(hashes):
            query = sa.select(ARTIFACTS.c.hash, ARTIFACTS.c.duration_ms).where(
                ARTIFACTS.c.team_id == team_id,
                ARTIFACTS.c.hash.in_(batch),
                ARTIFACTS.c.duration_ms.is_not(None),
            )
            with map_database_errors(), self._engine.connect() as connection:
                durations.update({row.hash: row.duration_ms for row in connection.execute(query)})
        return durations

    def usage(self) -> dict[str, CacheUsage]:
        """Count the artifacts and bytes of each team, by team id."""
        query = sa.select(
            ARTIFACTS.c.team_id, sa.func.count(), sa.func.sum(ARTIFACTS.c.size_bytes)
        ).group_by(ARTIFACTS.c.team_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query)
            return {team_id: CacheUsage(count, size) for team_id, count, size in rows}

    def least_recently_used(
        self,
        *,
        team_id: str | None = None,
        before_ms: int | None = None,
        limit: int = QUERY_BATCH_SIZE,
    ) -> list[BlobRef]:
        """Return artifacts by last use, oldest first.

        `team_id` restricts them to a team, `before_ms` to artifacts last used before that time.
        A negative limit means no limit.
        """
        query = sa.select(*_BLOB_REF_COLUMNS).order_by(ARTIFACTS.c.used_at).limit(limit)
        if team_id is not None:
            query = query.where(ARTIFACTS.c.team_id == team_id)
        if before_ms is not None:
            query = query.where(ARTIFACTS.c.used_at < before_ms)
        with self._engine.connect() as connection:
            return [_blob_ref(row) for row in connection.execute(query)]

    def iter_batches(self) -> Iterator[list[BlobRef]]:
        """Yield all rows in batches, each read by a separate short query."""
        last: tuple[str, str] | None = None
        while True:
            query = (
                sa.select(*_BLOB_REF_COLUMNS)
                .order_by(ARTIFACTS.c.team_id, ARTIFACTS.c.hash)
                .limit(QUERY_BATCH_SIZE)
            )
            if last is not None:
                query = query.where(
                    sa.tuple_(ARTIFACTS.c.team_id, ARTIFACTS.c.hash) > sa.tuple_(*last)
                )
            with self._engine.connect() as connection:
                batch = [_blob_ref(row) for row in connection.execute(query)]
            if not batch:
                return
            yield batch
            last = batch[-1].key

    def find_orphans(self, blobs: Sequence[str]) -> set[str]:
        """Return the bodies that no row refers to."""
        query = sa.select(ARTIFACTS.c.blob).where(ARTIFACTS.c.blob.in_(blobs))
        with self._engine.connect() as connection:
            return set(blobs) - set(connection.execute(query).scalars())

    def _add_to_cache(self, artifact: Artifact) -> None:
        self._cache[artifact.key] = artifact
        if len(self._cache) > _MAX_CACHED:
            self._cache.pop(next(iter(self._cache)), None)


def _batches(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(hashes), QUERY_BATCH_SIZE):
        yield hashes[start : start + QUERY_BATCH_SIZE]


def _blob_ref(row: Row[*tuple[Any, ...]]) -> BlobRef:
    return BlobRef(ArtifactKey(row.team_id, row.hash), row.blob, row.size_bytes)


def _artifact(row: Row[*tuple[Any, ...]]) -> Artifact:
    return Artifact(
        key=ArtifactKey(row.team_id, row.hash),
        blob=row.blob,
        size_bytes=row.size_bytes,
        duration_ms=row.duration_ms,
        tag=row.tag,
        sha=row.sha,
        dirty_hash=row.dirty_hash,
        ci=row.ci,
        interactive=row.interactive,
        agent=row.agent,
        token_id=row.token_id,
        created_at_ms=row.created_at,
    )


def _values(artifact: Artifact) -> tuple[object, ...]:
    """Return a row's values, in the order of the table's columns."""
    return (
        *artifact.key,
        artifact.blob,
        artifact.size_bytes,
        artifact.duration_ms,
        artifact.tag,
        artifact.sha,
        artifact.dirty_hash,
        artifact.ci,
        artifact.interactive,
        artifact.agent,
        artifact.token_id,
        artifact.created_at_ms,
        artifact.created_at_ms,
        None,  # the producer is found later, see artifact_attribution.py
    )
