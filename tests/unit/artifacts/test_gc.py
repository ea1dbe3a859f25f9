"""Garbage collection: expiry, size limits, orphans, missing bodies."""

import asyncio
from pathlib import Path

from hitrate.artifacts.eviction import CacheLimits
from hitrate.artifacts.gc import CollectionReport, GarbageCollector
from tests.support.artifact_cache import CacheFixture, run_with_cache

DAY_S = 86400


async def collect(collector: GarbageCollector, *, dry_run: bool = False) -> CollectionReport:
    return await asyncio.to_thread(collector.collect, dry_run=dry_run)


def removed(report: CollectionReport) -> dict[str, tuple[int, int]]:
    return {reason: (c.count, c.size_bytes) for reason, c in report.removed.items()}


async def existing(cache: CacheFixture, *hashes: str) -> list[str]:
    return [h for h in hashes if await cache.exists(h)]


def test_artifacts_expire_after_the_ttl_without_use(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("old")
        await cache.put("used")
        cache.clock.advance(20 * DAY_S)
        await cache.put("new")
        await cache.store.find(cache.key("used"))
        cache.clock.advance(15 * DAY_S)
        report = await collect(cache.garbage_collector(CacheLimits(30 * DAY_S, None, None)))
        assert removed(report) == {"expired": (1, 4)}
        assert await existing(cache, "old", "used", "new") == ["used", "new"]

    run_with_cache(tmp_path, test)


def test_least_recently_used_artifacts_are_evicted_above_the_cache_limit(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        for number in range(10):
            await cache.put(f"h{number}", bytes(100))
            cache.clock.advance(1)
        await cache.store.find(cache.key("h0"))
        report = await collect(cache.garbage_collector(CacheLimits(None, 500, None)))
        assert removed(report) == {"overCacheLimit": (5, 500)}
        remaining = await existing(cache, *(f"h{n}" for n in range(10)))
        assert remaining == ["h0", "h6", "h7", "h8", "h9"]
        assert len(cache.files()) == 5

    run_with_cache(tmp_path, test)


def test_team_cache_limit_evicts_only_artifacts_of_that_team(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("theirs", bytes(100), cache.other)
        for number in range(5):
            cache.clock.advance(1)
            await cache.put(f"h{number}", bytes(100))
        report = await collect(cache.garbage_collector(CacheLimits(None, None, 200)))
        assert removed(report) == {"overTeamCacheLimit": (3, 300)}
        assert await cache.exists("theirs", cache.other)

    run_with_cache(tmp_path, test)


def test_dry_run_reports_the_same_and_removes_nothing(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        for number in range(10):
            await cache.put(f"h{number}", bytes(100))
            cache.clock.advance(DAY_S)
        (cache.directory / "team_x" / "ab").mkdir(parents=True)
        (cache.directory / "team_x" / "ab" / "abcd").write_bytes(b"orphan")
        collector = cache.garbage_collector(CacheLimits(7 * DAY_S, 500, 400))
        report = await collect(collector, dry_run=True)
        assert len(cache.files()) == 11
        removal = await collect(collector)
        assert (
            removed(report)
            == removed(removal)
            == {
                "expired": (3, 300),
                "overTeamCacheLimit": (3, 300),
                "orphanBody": (1, 6),
            }
        )

    run_with_cache(tmp_path, test)


def test_orphan_bodies_and_rows_with_a_missing_body_are_removed(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("whole")
        missing = await cache.put("missing")
        Path(cache.store.blobs.path(cache.team.id, missing.blob)).unlink()
        orphan = cache.directory / cache.team.id / "00" / ("0" * 32)
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"left by a crash")
        report = await collect(cache.garbage_collector())
        assert removed(report) == {"orphanBody": (1, 15), "missingBody": (1, 4)}
        assert not orphan.parent.exists(), "its directory is removed, too"
        assert await existing(cache, "whole", "missing") == ["whole"]
        assert removed(await collect(cache.garbage_collector())) == {}

    run_with_cache(tmp_path, test)


def test_upload_in_progress_is_not_an_orphan(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        writer = cache.store.blobs.writer(cache.team.id)
        writer.write(b"half")
        assert removed(await collect(cache.garbage_collector())) == {}
        assert len(cache.files()) == 1
        writer.discard()
        assert cache.files() == []

    run_with_cache(tmp_path, test)


def test_replaced_body_is_not_an_orphan(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("a", b"old")
        await cache.put("a", b"new")
        assert removed(await collect(cache.garbage_collector())) == {}
        assert len(cache.files()) == 2

    run_with_cache(tmp_path, test)


def test_last_use_survives_a_restart(tmp_path: Path) -> None:
    async def use(cache: CacheFixture) -> None:
        await cache.put("used")
        cache.clock.advance(1)
        await cache.put("unused")
        cache.clock.advance(1)
        await cache.store.find(cache.key("used"))

    async def check(cache: CacheFixture) -> None:
        [oldest, _] = cache.store.index.least_recently_used()
        assert oldest.key.hash == "unused"

    run_with_cache(tmp_path, use)
    run_with_cache(tmp_path, check)
