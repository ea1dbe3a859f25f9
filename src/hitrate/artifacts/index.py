"""The index of artifacts in the database: which file is behind a key, and when it was last used.

Reads come from any thread, changes from one. Rows that were looked up or saved lately are kept in
memory; the memory is never ahead of the database.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from hitrate.artifacts.models import Artifact, Key
from hitrate.db.engine import map_database_errors
from hitrate.db.tables import ARTIFACTS

_MANY = 500
_REMEMBER_MOST = 20_000

# Many rows as one JSON value: one statement does all of a group's work, where a statement a row
# would cost a turn at the interpreter's lock each.
_COLUMNS = [column.name for column in ARTIFACTS.c]
_FIELDS = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_COLUMNS)))
_CHANGES = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])
_UPSERT = (
    f"INSERT INTO artifacts ({', '.join(_COLUMNS)}) "  # noqa: S608  # reason: our own names
    f"SELECT {_FIELDS} FROM json_each(?) WHERE true "
    f"ON CONFLICT (team_id, hash) DO UPDATE SET {_CHANGES}"
)
_REPLACED = """
SELECT team_id, hash, blob, size_bytes FROM artifacts
WHERE (team_id, hash) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
"""
_STORED_COLUMNS = (ARTIFACTS.c.team_id, ARTIFACTS.c.hash, ARTIFACTS.c.blob, ARTIFACTS.c.size_bytes)


class Stored(NamedTuple):
    """As much of a row as removing its file needs."""

    key: Key
    blob: str
    size_bytes: int


class Usage(NamedTuple):
    """What a team keeps."""

    artifacts: int
    size_bytes: int


class ArtifactIndex:
    """Rows of artifacts. The methods that take a connection change it and belong to one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[Key, Artifact] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def known(self, key: Key) -> Artifact | None:
        """The artifact, if it is remembered."""
        return self._known.get(key)

    def find(self, key: Key) -> Artifact | None:
        """The artifact from the database; remembers it."""
        before = self._changes
        query = sa.select(ARTIFACTS).where(
            ARTIFACTS.c.team_id == key.team_id, ARTIFACTS.c.hash == key.hash
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        artifact = _artifact(row)
        with self._lock:
            if before == self._changes:  # otherwise this row may be older than one just saved
                self._remember(artifact)
        return artifact

    def find_many(self, team_id: str, hashes: Sequence[str]) -> dict[str, Artifact]:
        """The artifacts of a team that are there, by hash."""
        found: dict[str, Artifact] = {}
        with self._engine.connect() as connection:
            for some in _slices(hashes):
                query = sa.select(ARTIFACTS).where(
                    ARTIFACTS.c.team_id == team_id, ARTIFACTS.c.hash.in_(some)
                )
                found.update((row.hash, _artifact(row)) for row in connection.execute(query))
        return found

    def save(self, connection: Connection, artifacts: Sequence[Artifact]) -> list[Stored]:
        """Add or replace rows; what they replaced. Of two with the same key the last stays."""
        rows = (msgspec.json.encode([_values(artifact) for artifact in artifacts]).decode(),)
        replaced = connection.exec_driver_sql(_REPLACED, rows).all()
        connection.exec_driver_sql(_UPSERT, rows)
        return [_stored(row) for row in replaced]

    def delete(self, connection: Connection, stored: Iterable[Stored]) -> list[Stored]:
        """Remove rows that still stand for the same file; those that were removed."""
        removed = []
        for one in stored:
            change = sa.delete(ARTIFACTS).where(
                ARTIFACTS.c.team_id == one.key.team_id,
                ARTIFACTS.c.hash == one.key.hash,
                ARTIFACTS.c.blob == one.blob,
            )
            if connection.execute(change).rowcount:
                removed.append(one)
        return removed

    def delete_team(self, connection: Connection, team_id: str) -> list[Stored]:
        """Remove all rows of a team."""
        of_team = ARTIFACTS.c.team_id == team_id
        rows = connection.execute(sa.select(*_STORED_COLUMNS).where(of_team)).all()
        connection.execute(sa.delete(ARTIFACTS).where(of_team))
        return [_stored(row) for row in rows]

    def touch(self, connection: Connection, used_at_ms: Mapping[Key, int]) -> None:
        """Note when artifacts were last used."""
        change = (
            sa.update(ARTIFACTS)
            .where(
                ARTIFACTS.c.team_id == sa.bindparam("team"),
                ARTIFACTS.c.hash == sa.bindparam("key"),
            )
            .values(used_at=sa.bindparam("at"))
        )
        # A copy: a reader may note one more use while this runs.
        used = list(used_at_ms.items())
        rows = [{"team": k.team_id, "key": k.hash, "at": at} for k, at in used]
        if rows:
            connection.execute(change, rows)

    def remember(self, saved: Iterable[Artifact], removed: Iterable[Key]) -> None:
        """Bring the memory in line with a transaction that was just committed."""
        with self._lock:
            self._changes += 1
            for key in removed:
                self._known.pop(key, None)
            for artifact in saved:
                self._remember(artifact)

    def durations(self, team_id: str, hashes: Sequence[str]) -> dict[str, float]:
        """The durations, in ms, that uploads told of those artifacts that are there."""
        found: dict[str, float] = {}
        for some in _slices(hashes):
            query = sa.select(ARTIFACTS.c.hash, ARTIFACTS.c.duration_ms).where(
                ARTIFACTS.c.team_id == team_id,
                ARTIFACTS.c.hash.in_(some),
                ARTIFACTS.c.duration_ms.is_not(None),
            )
            with map_database_errors(), self._engine.connect() as connection:
                found.update({row.hash: row.duration_ms for row in connection.execute(query)})
        return found

    def usage(self) -> dict[str, Usage]:
        """What each team keeps, counted from the rows."""
        query = sa.select(
            ARTIFACTS.c.team_id, sa.func.count(), sa.func.sum(ARTIFACTS.c.size_bytes)
        ).group_by(ARTIFACTS.c.team_id)
        with self._engine.connect() as connection:
            return {team: Usage(count, size) for team, count, size in connection.execute(query)}

    def least_recent(
        self, *, team_id: str | None = None, before_ms: int | None = None, limit: int = _MANY
    ) -> list[Stored]:
        """Artifacts by last use, oldest first; of one team, or used before a moment."""
        query = sa.select(*_STORED_COLUMNS).order_by(ARTIFACTS.c.used_at).limit(limit)
        if team_id is not None:
            query = query.where(ARTIFACTS.c.team_id == team_id)
        if before_ms is not None:
            query = query.where(ARTIFACTS.c.used_at < before_ms)
        with self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def walk(self) -> Iterator[list[Stored]]:
        """All rows, some at a time, each look a short one."""
        last: tuple[str, str] | None = None
        while True:
            query = (
                sa.select(*_STORED_COLUMNS)
                .order_by(ARTIFACTS.c.team_id, ARTIFACTS.c.hash)
                .limit(_MANY)
            )
            if last is not None:
                query = query.where(
                    sa.tuple_(ARTIFACTS.c.team_id, ARTIFACTS.c.hash) > sa.tuple_(*last)
                )
            with self._engine.connect() as connection:
                rows = [_stored(row) for row in connection.execute(query)]
            if not rows:
                return
            yield rows
            last = rows[-1].key

    def unnamed(self, blobs: Sequence[str]) -> set[str]:
        """Those of the file names that no row names."""
        query = sa.select(ARTIFACTS.c.blob).where(ARTIFACTS.c.blob.in_(blobs))
        with self._engine.connect() as connection:
            return set(blobs) - set(connection.execute(query).scalars())

    def _remember(self, artifact: Artifact) -> None:
        self._known[artifact.key] = artifact
        if len(self._known) > _REMEMBER_MOST:
            self._known.pop(next(iter(self._known)), None)


def _slices(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(hashes), _MANY):
        yield hashes[start : start + _MANY]


def _stored(row: Row[*tuple[Any, ...]]) -> Stored:
    return Stored(Key(row.team_id, row.hash), row.blob, row.size_bytes)


def _artifact(row: Row[*tuple[Any, ...]]) -> Artifact:
    return Artifact(
        key=Key(row.team_id, row.hash),
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
    """In the order of the columns."""
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
        None,  # the run that made it is known later
    )
