"""A cache on a folder of its own, with a team, for tests of the store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.eviction import CacheLimits
from hitrate.artifacts.gc import GarbageCollector
from hitrate.artifacts.models import Artifact, ArtifactKey
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.accounts import AccountStore
from hitrate.clock import ManualClock
from hitrate.db.engine import open_database
from hitrate.metrics import Metrics
from hitrate.teams.models import Team

Value = TypeVar("Value")

NO_LIMITS = CacheLimits(None, None, None)


class Cache:
    """Store, team and clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "artifacts"
        self.clock = ManualClock()
        self.engine = open_database(folder)
        accounts = AccountStore(self.engine, self.clock)
        self.team: Team = accounts.teams.find(slug="ours") or accounts.teams.create("ours")
        self.other: Team = accounts.teams.find(slug="theirs") or accounts.teams.create("theirs")
        self.store = ArtifactStore(self.engine, BlobStore(self.folder, 0), self.clock)
        self.metrics = Metrics()

    def key(self, artifact_hash: str, team: Team | None = None) -> ArtifactKey:
        return ArtifactKey((team or self.team).id, artifact_hash)

    async def put(
        self, artifact_hash: str, body: bytes = b"body", team: Team | None = None, tag: str = ""
    ) -> Artifact:
        key = self.key(artifact_hash, team)
        writer = self.store.blobs.writer(key.team_id)
        artifact = Artifact(
            key, writer.blob, len(body), 1.0, tag, None, None, None, None, None, "tok", 0
        )
        artifact = self._now(artifact)
        writer.buffer(body)
        await self.store.put(artifact, writer)
        return artifact

    async def has(self, artifact_hash: str, team: Team | None = None) -> bool:
        key = self.key(artifact_hash, team)
        return key.hash in await self.store.find_many(key.team_id, [key.hash])

    def retention(self, limits: CacheLimits = NO_LIMITS) -> GarbageCollector:
        loop = asyncio.get_running_loop()
        return GarbageCollector(self.store, limits, self.metrics, self.clock, loop)

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _now(self, artifact: Artifact) -> Artifact:
        fields = {name: getattr(artifact, name) for name in artifact.__struct_fields__}
        return Artifact(**{**fields, "created_at_ms": self.clock.now_ms()})


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Cache]:
    """An open cache."""
    cache = Cache(folder)
    cache.store.open()
    try:
        yield cache
    finally:
        await asyncio.to_thread(cache.store.close)
        cache.engine.dispose()


def run(folder: Path, test: Callable[[Cache], Awaitable[Value]]) -> Value:
    """Run an asynchronous test on a cache."""

    async def with_cache() -> Value:
        async with opened(folder) as cache:
            return await test(cache)

    return asyncio.run(with_cache())
