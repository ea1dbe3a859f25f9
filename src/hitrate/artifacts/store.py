"""Artifact store: bodies and index together. All changes of either go through it.

An upload's body is written and flushed first, then its row is committed; all waiting uploads share
one transaction. A reader follows the row that it read to a file that never changes. So it gets the
old artifact or the new one, body and metadata together, never a mix.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from hitrate import log
from hitrate.artifacts.blobs import BlobStore, BlobWriter
from hitrate.artifacts.index import ArtifactIndex
from hitrate.artifacts.models import Artifact, ArtifactKey, BlobRef, CacheUsage
from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.errors import ServiceUnavailable
from hitrate.group_commit import GroupCommitter

REPLACED_GRACE_S = 5.0
"""How long a replaced body is kept, for readers that have read its row but not opened it yet."""

FILE_CHECK_INTERVAL_MS = 1_000
"""A body that was downloaded within this time is not checked for existence again."""

_log = log.get_logger("artifacts")


class _Removal:
    """A request to remove certain artifacts, or all of a team. `removed` is its result."""

    def __init__(self, refs: Sequence[BlobRef] = (), team_id: str | None = None) -> None:
        self.refs = refs
        self.team_id = team_id
        self.removed: list[BlobRef] = []


_Change = Artifact | _Removal
"""An artifact is to be saved: its body is on disk already."""


class ArtifactStore:
    """Finds, stores and removes artifacts. Coroutines do not block the event loop."""

    def __init__(self, engine: Engine, blobs: BlobStore, clock: Clock) -> None:
        self.index = ArtifactIndex(engine)
        self.blobs = blobs
        self._engine = engine
        self._clock = clock
        # Two stages, so that the bodies of one group are flushed while the rows of the previous
        # group are committed.
        self._flusher: GroupCommitter[BlobWriter] = GroupCommitter("bodies", blobs.flush)
        self._committer: GroupCommitter[_Change] = GroupCommitter("artifacts", self._commit)
        self._last_used_ms: dict[ArtifactKey, int] = {}
        self._bytes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._replaced: deque[tuple[float, BlobRef]] = deque()

    def open(self) -> None:
        """Create the directory, count the stored artifacts, start the commit threads."""
        self.blobs.open()
        for team_id, usage in self.index.usage().items():
            self._counts[team_id], self._bytes[team_id] = usage
        self._flusher.open()
        self._committer.open()

    def close(self) -> None:
        """Commit pending changes, write the times of last use, remove replaced bodies."""
        self._flusher.close()
        self._committer.close()
        try:
            self.write_last_used()
        except ServiceUnavailable as error:
            _log.warning("times of last use not written", reason=str(error))
        self.remove_replaced(0)

    async def find(self, key: ArtifactKey) -> Artifact | None:
        """Return the artifact, or None if it or part of its body is missing. Counts as a use."""
        artifact = self.index.cached(key)
        if artifact is None:
            artifact = await asyncio.to_thread(self._find_in_database, key)
            if artifact is None:
                return None
        now_ms = self._clock.now_ms()
        # Not on each of many reads, because every system call releases and acquires the GIL.
        checked = now_ms - self._last_used_ms.get(key, 0) < FILE_CHECK_INTERVAL_MS
        if not checked and not self.blobs.exists(key.team_id, artifact.blob, artifact.size_bytes):
            _log.warning("artifact body missing", team=key.team_id, blob=artifact.blob)
            await self.remove([artifact.blob_ref])
            return None
        self._last_used_ms[key] = now_ms
        return artifact

    async def find_many(self, team_id: str, hashes: Sequence[str]) -> dict[str, Artifact]:
        """Return the existing artifacts of a team by hash. Does not count as a use."""
        with map_database_errors():
            return await asyncio.to_thread(self.index.find_many, team_id, hashes)

    async def put(self, artifact: Artifact, writer: BlobWriter) -> None:
        """Add or replace an artifact whose body has been written; durable on return.

        Raises ServiceUnavailable; then nothing is stored and the body's file is removed.
        """
        try:
            if not writer.synced:
                await self._flusher.submit(writer)
            await self._committer.submit(artifact)
        except ServiceUnavailable:
            await asyncio.to_thread(writer.discard)
            raise

    async def remove(self, refs: Sequence[BlobRef]) -> list[BlobRef]:
        """Remove artifacts, except those replaced since the caller read them.

        Returns the removed ones.
        """
        removal = _Removal(refs)
        await self._committer.submit(removal)
        return removal.removed

    async def remove_team(self, team_id: str) -> int:
        """Remove all artifacts of a team; return their number."""
        removal = _Removal(team_id=team_id)
        await self._committer.submit(removal)
        return len(removal.removed)

    def usage(self, team_id: str | None = None) -> CacheUsage:
        """Return the usage of one team or of all teams, without a database query."""
        if team_id is not None:
            return CacheUsage(self._counts[team_id], self._bytes[team_id])
        return CacheUsage(sum(self._counts.values()), sum(self._bytes.values()))

    def teams(self) -> list[str]:
        """Return the ids of the teams that store any artifact."""
        return [team_id for team_id, count in list(self._counts.items()) if count]

    def write_last_used(self) -> None:
        """Write the uses since the last call to the index. Reads only record them in memory.

        Raises ServiceUnavailable; the uses are then written by the next call.
        """
        last_used_ms, self._last_used_ms = self._last_used_ms, {}
        if not last_used_ms:
            return
        try:
            with transaction(self._engine) as connection:
                self.index.touch(connection, last_used_ms)
        except ServiceUnavailable:
            self._last_used_ms = last_used_ms | self._last_used_ms
            raise

    def remove_replaced(self, grace_s: float = REPLACED_GRACE_S) -> None:
        """Remove the bodies that were replaced more than `grace_s` ago."""
        latest = time.monotonic() - grace_s
        while self._replaced and self._replaced[0][0] <= latest:
            _, ref = self._replaced.popleft()
            self.blobs.remove(ref.key.team_id, ref.blob)

    def replaced_bytes(self) -> int:
        """Return the size of the replaced bodies that are still on disk."""
        return sum(ref.size_bytes for _, ref in list(self._replaced))

    def is_replaced(self, blob: str) -> bool:
        """Return whether the body was replaced and is about to be removed."""
        return any(ref.blob == blob for _, ref in list(self._replaced))

    def _find_in_database(self, key: ArtifactKey) -> Artifact | None:
        with map_database_errors():
            return self.index.find(key)

    def _commit(self, changes: list[_Change]) -> None:
        saved = [change for change in changes if isinstance(change, Artifact)]
        with transaction(self._engine) as connection:
            replaced = self._write_rows(connection, changes, saved)
        self._after_commit(saved, replaced, changes)

    def _write_rows(
        self, connection: Connection, changes: list[_Change], saved: list[Artifact]
    ) -> list[BlobRef]:
        """Apply the changes to the index, in the caller's transaction; return replaced bodies."""
        latest = {artifact.key: artifact for artifact in saved}
        replaced = self.index.upsert(connection, list(latest.values())) if latest else []
        replaced += [a.blob_ref for a in saved if latest[a.key] is not a]
        for change in changes:
            if isinstance(change, _Removal):
                if change.team_id is not None:
                    change.removed = self.index.delete_team(connection, change.team_id)
                else:
                    change.removed = self.index.delete(connection, change.refs)
        return replaced

    def _after_commit(
        self, saved: list[Artifact], replaced: list[BlobRef], changes: list[_Change]
    ) -> None:
        removed = [ref for c in changes if isinstance(c, _Removal) for ref in c.removed]
        removed_blobs = {ref.blob for ref in removed}
        latest = {artifact.key: artifact for artifact in saved}
        stored = [a for a in latest.values() if a.blob not in removed_blobs]
        self.index.update_cache(stored, [ref.key for ref in removed])
        for artifact in saved:
            self._count(artifact.blob_ref, 1)
            self.blobs.mark_committed(artifact.blob)
        for ref in replaced + removed:
            self._count(ref, -1)
        now = time.monotonic()
        self._replaced.extend((now, ref) for ref in replaced)
        for ref in removed:
            self.blobs.remove(ref.key.team_id, ref.blob)

    def _count(self, ref: BlobRef, sign: int) -> None:
        self._counts[ref.key.team_id] += sign
        self._bytes[ref.key.team_id] += sign * ref.size_bytes
