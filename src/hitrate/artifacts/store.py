"""The cache: bodies and index as one. The one place that changes either.

An upload's body is written and flushed first, then its row is committed; all uploads that wait
share a transaction. A reader follows the row it saw to a file that never changes, so it gets the
old whole artifact or the new whole one, body and metadata together.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from hitrate import log
from hitrate.artifacts.blobs import BlobStore, BlobWriter
from hitrate.artifacts.index import ArtifactIndex, Stored, Usage
from hitrate.artifacts.models import Artifact, Key
from hitrate.clock import Clock
from hitrate.db.engine import map_database_errors, transaction
from hitrate.errors import ServiceUnavailable
from hitrate.group_commit import GroupCommitter

REPLACED_KEPT_S = 5.0
"""How long a replaced file stays, for a reader that has seen its row but not opened it yet."""

FILE_SEEN_MS = 1_000
"""A file that was sent within this time is taken to be whole still."""

_log = log.get_logger("artifacts")


class _Remove:
    """Remove certain artifacts, or all of one team. `removed` is the answer."""

    def __init__(self, stored: Sequence[Stored] = (), team_id: str | None = None) -> None:
        self.stored = stored
        self.team_id = team_id
        self.removed: list[Stored] = []


_Change = Artifact | _Remove
"""An artifact is to be saved: its body is on the disk already."""


class ArtifactStore:
    """Find, put and remove artifacts. What is awaited does not block the event loop."""

    def __init__(self, engine: Engine, blobs: BlobStore, clock: Clock) -> None:
        self.index = ArtifactIndex(engine)
        self.blobs = blobs
        self._engine = engine
        self._clock = clock
        # Two stages, so that the bodies of one group are flushed while the rows of the one before
        # are committed.
        self._flusher: GroupCommitter[BlobWriter] = GroupCommitter("bodies", blobs.flush)
        self._committer: GroupCommitter[_Change] = GroupCommitter("artifacts", self._commit)
        self._used: dict[Key, int] = {}
        self._bytes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._replaced: deque[tuple[float, Stored]] = deque()

    def open(self) -> None:
        """Make the folder, count what is there, start committing."""
        self.blobs.open()
        for team_id, usage in self.index.usage().items():
            self._counts[team_id], self._bytes[team_id] = usage
        self._flusher.open()
        self._committer.open()

    def close(self) -> None:
        """Commit what waits; write down last uses; remove what was replaced."""
        self._flusher.close()
        self._committer.close()
        try:
            self.write_last_uses()
        except ServiceUnavailable as error:
            _log.warning("last uses are not written", reason=str(error))
        self.remove_replaced(0)

    async def find(self, key: Key) -> Artifact | None:
        """The artifact, or None when it is not there, whole. Counts as a use."""
        artifact = self.index.known(key)
        if artifact is None:
            artifact = await asyncio.to_thread(self._look_up, key)
            if artifact is None:
                return None
        now_ms = self._clock.now_ms()
        # Not at each of many reads: a look at the file costs a turn at the interpreter's lock.
        seen_lately = now_ms - self._used.get(key, 0) < FILE_SEEN_MS
        if not seen_lately and not self.blobs.has(key.team_id, artifact.blob, artifact.size_bytes):
            _log.warning("artifact without its file", team=key.team_id, blob=artifact.blob)
            await self.remove([Stored(key, artifact.blob, artifact.size_bytes)])
            return None
        self._used[key] = now_ms
        return artifact

    async def find_many(self, team_id: str, hashes: Sequence[str]) -> dict[str, Artifact]:
        """Those of a team's artifacts that are there, by hash. Does not count as a use."""
        with map_database_errors():
            return await asyncio.to_thread(self.index.find_many, team_id, hashes)

    async def put(self, artifact: Artifact, writer: BlobWriter) -> None:
        """Add or replace an artifact whose body is written; on disk when this returns.

        Raises ServiceUnavailable, with nothing stored and no file left.
        """
        try:
            if not writer.sealed:
                await self._flusher.submit(writer)
            await self._committer.submit(artifact)
        except ServiceUnavailable:
            await asyncio.to_thread(writer.discard)
            raise

    async def remove(self, stored: Sequence[Stored]) -> list[Stored]:
        """Remove artifacts, if they still are what the caller saw; those that were removed."""
        change = _Remove(stored)
        await self._committer.submit(change)
        return change.removed

    async def remove_team(self, team_id: str) -> int:
        """Empty a team's cache; the number of artifacts removed."""
        change = _Remove(team_id=team_id)
        await self._committer.submit(change)
        return len(change.removed)

    def usage(self, team_id: str | None = None) -> Usage:
        """What one team or all teams keep, without a look at the database."""
        if team_id is not None:
            return Usage(self._counts[team_id], self._bytes[team_id])
        return Usage(sum(self._counts.values()), sum(self._bytes.values()))

    def teams(self) -> list[str]:
        """The teams that keep anything."""
        return [team_id for team_id, count in list(self._counts.items()) if count]

    def write_last_uses(self) -> None:
        """Put the uses since the last call into the index; that is all that a read costs.

        Raises ServiceUnavailable; the uses are then kept for the next call.
        """
        used, self._used = self._used, {}
        if not used:
            return
        try:
            with transaction(self._engine) as connection:
                self.index.touch(connection, used)
        except ServiceUnavailable:
            self._used = used | self._used
            raise

    def remove_replaced(self, kept_s: float = REPLACED_KEPT_S) -> None:
        """Remove the files that were replaced longer than `kept_s` ago."""
        latest = time.monotonic() - kept_s
        while self._replaced and self._replaced[0][0] <= latest:
            _, stored = self._replaced.popleft()
            self.blobs.remove(stored.key.team_id, stored.blob)

    def replaced_bytes(self) -> int:
        """What replaced files still take of the disk."""
        return sum(stored.size_bytes for _, stored in list(self._replaced))

    def is_replaced(self, blob: str) -> bool:
        """Whether the file waits to be removed."""
        return any(stored.blob == blob for _, stored in list(self._replaced))

    def _look_up(self, key: Key) -> Artifact | None:
        with map_database_errors():
            return self.index.find(key)

    def _commit(self, changes: list[_Change]) -> None:
        saved = [change for change in changes if isinstance(change, Artifact)]
        with transaction(self._engine) as connection:
            replaced = self._apply(connection, changes, saved)
        self._committed(saved, replaced, changes)

    def _apply(
        self, connection: Connection, changes: list[_Change], saved: list[Artifact]
    ) -> list[Stored]:
        """The rows' changes, in one transaction; what was replaced."""
        latest = {artifact.key: artifact for artifact in saved}
        replaced = self.index.save(connection, list(latest.values())) if latest else []
        replaced += [_as_stored(one) for one in saved if latest[one.key] is not one]
        for change in changes:
            if isinstance(change, _Remove):
                if change.team_id is not None:
                    change.removed = self.index.delete_team(connection, change.team_id)
                else:
                    change.removed = self.index.delete(connection, change.stored)
        return replaced

    def _committed(
        self, saved: list[Artifact], replaced: list[Stored], changes: list[_Change]
    ) -> None:
        removed = [s for c in changes if isinstance(c, _Remove) for s in c.removed]
        removed_blobs = {stored.blob for stored in removed}
        latest = {artifact.key: artifact for artifact in saved}
        kept = [one for one in latest.values() if one.blob not in removed_blobs]
        self.index.remember(kept, [stored.key for stored in removed])
        for artifact in saved:
            self._count(_as_stored(artifact), 1)
            self.blobs.settle(artifact.blob)
        for stored in replaced + removed:
            self._count(stored, -1)
        now = time.monotonic()
        self._replaced.extend((now, stored) for stored in replaced)
        for stored in removed:
            self.blobs.remove(stored.key.team_id, stored.blob)

    def _count(self, stored: Stored, sign: int) -> None:
        self._counts[stored.key.team_id] += sign
        self._bytes[stored.key.team_id] += sign * stored.size_bytes


def _as_stored(artifact: Artifact) -> Stored:
    return Stored(artifact.key, artifact.blob, artifact.size_bytes)
