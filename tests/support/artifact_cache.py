"""Fixture: an artifact store in its own data directory, with two teams and a manual clock."""

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

Result = TypeVar("Result")

NO_LIMITS = CacheLimits(None, None, None)


class CacheFixture:
    """An artifact store with its database, clock, and the teams `ours` and `theirs`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "artifacts"
        self.clock = ManualClock()
        self.engine = open_database(directory)
        accounts = AccountStore(self.engine, self.clock)
        self.team: Team = accounts.teams.find(slug="ours") or accounts.teams.create("ours")
        self.other: Team = accounts.teams.find(slug="theirs") or accounts.teams.create("theirs")
        self.store = ArtifactStore(self.engine, BlobStore(self.directory, 0), self.clock)
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
        artifact = self._created_now(artifact)
        writer.buffer(body)
        await self.store.put(artifact, writer)
        return artifact

    async def exists(self, artifact_hash: str, team: Team | None = None) -> bool:
        key = self.key(artifact_hash, team)
        return key.hash in await self.store.find_many(key.team_id, [key.hash])

    def garbage_collector(self, limits: CacheLimits = NO_LIMITS) -> GarbageCollector:
        loop = asyncio.get_running_loop()
        return GarbageCollector(self.store, limits, self.metrics, self.clock, loop)

    def files(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if path.is_file()]

    def _created_now(self, artifact: Artifact) -> Artifact:
        fields = {name: getattr(artifact, name) for name in artifact.__struct_fields__}
        return Artifact(**{**fields, "created_at_ms": self.clock.now_ms()})


@asynccontextmanager
async def open_cache(directory: Path) -> AsyncIterator[CacheFixture]:
    """Open an artifact cache in the data directory, and close it afterwards."""
    cache = CacheFixture(directory)
    cache.store.open()
    try:
        yield cache
    finally:
        await asyncio.to_thread(cache.store.close)
        cache.engine.dispose()


def run_with_cache(directory: Path, test: Callable[[CacheFixture], Awaitable[Result]]) -> Result:
    """Call an asynchronous test with a cache in the data directory; return its result."""

    async def with_cache() -> Result:
        async with open_cache(directory) as cache:
            return await test(cache)

    return asyncio.run(with_cache())
