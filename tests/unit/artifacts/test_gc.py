"""Room: the unused and the least recently used go first; files and index agree."""

import asyncio
from pathlib import Path

from hitrate.artifacts.eviction import CacheLimits
from hitrate.artifacts.gc import GarbageCollector, Report
from tests.support.artifact_cache import Cache, run

DAY_S = 86400


async def collect(retention: GarbageCollector, *, dry_run: bool = False) -> Report:
    return await asyncio.to_thread(retention.collect, dry_run=dry_run)


def removed(report: Report) -> dict[str, tuple[int, int]]:
    return {reason: (c.count, c.size_bytes) for reason, c in report.removed.items()}


async def kept(cache: Cache, *hashes: str) -> list[str]:
    return [h for h in hashes if await cache.has(h)]


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("old")
        await cache.put("used")
        cache.clock.advance(20 * DAY_S)
        await cache.put("new")
        await cache.store.find(cache.key("used"))
        cache.clock.advance(15 * DAY_S)
        report = await collect(cache.retention(CacheLimits(30 * DAY_S, None, None)))
        assert removed(report) == {"expired": (1, 4)}
        assert await kept(cache, "old", "used", "new") == ["used", "new"]

    run(tmp_path, test)


def test_over_the_cap_the_least_recently_used_go_first(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        for number in range(10):
            await cache.put(f"h{number}", bytes(100))
            cache.clock.advance(1)
        await cache.store.find(cache.key("h0"))
        report = await collect(cache.retention(CacheLimits(None, 500, None)))
        assert removed(report) == {"overCacheLimit": (5, 500)}
        left = await kept(cache, *(f"h{n}" for n in range(10)))
        assert left == ["h0", "h6", "h7", "h8", "h9"]
        assert len(cache.files()) == 5

    run(tmp_path, test)


def test_a_teams_cap_is_kept_by_that_teams_artifacts(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("theirs", bytes(100), cache.other)
        for number in range(5):
            cache.clock.advance(1)
            await cache.put(f"h{number}", bytes(100))
        report = await collect(cache.retention(CacheLimits(None, None, 200)))
        assert removed(report) == {"overTeamCacheLimit": (3, 300)}
        assert await cache.has("theirs", cache.other)

    run(tmp_path, test)


def test_a_dry_run_says_the_same_and_removes_nothing(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        for number in range(10):
            await cache.put(f"h{number}", bytes(100))
            cache.clock.advance(DAY_S)
        (cache.folder / "team_x" / "ab").mkdir(parents=True)
        (cache.folder / "team_x" / "ab" / "abcd").write_bytes(b"orphan")
        retention = cache.retention(CacheLimits(7 * DAY_S, 500, 400))
        said = await collect(retention, dry_run=True)
        assert len(cache.files()) == 11
        done = await collect(retention)
        assert (
            removed(said)
            == removed(done)
            == {
                "expired": (3, 300),
                "overTeamCacheLimit": (3, 300),
                "orphanBody": (1, 6),
            }
        )

    run(tmp_path, test)


def test_a_file_without_a_row_and_a_row_without_its_file_go(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("whole")
        gone = await cache.put("gone")
        Path(cache.store.blobs.path(cache.team.id, gone.blob)).unlink()
        orphan = cache.folder / cache.team.id / "00" / ("0" * 32)
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"left by a crash")
        report = await collect(cache.retention())
        assert removed(report) == {"orphanBody": (1, 15), "missingBody": (1, 4)}
        assert not orphan.parent.exists(), "nor its folder"
        assert await kept(cache, "whole", "gone") == ["whole"]
        assert removed(await collect(cache.retention())) == {}

    run(tmp_path, test)


def test_the_scan_leaves_an_upload_that_is_under_way_alone(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        writer = cache.store.blobs.writer(cache.team.id)
        writer.write(b"half")
        assert removed(await collect(cache.retention())) == {}
        assert len(cache.files()) == 1
        writer.discard()
        assert cache.files() == []

    run(tmp_path, test)


def test_the_scan_leaves_a_replaced_file_to_its_readers(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("a", b"old")
        await cache.put("a", b"new")
        assert removed(await collect(cache.retention())) == {}
        assert len(cache.files()) == 2

    run(tmp_path, test)


def test_the_last_use_survives_a_restart(tmp_path: Path) -> None:
    async def use(cache: Cache) -> None:
        await cache.put("used")
        cache.clock.advance(1)
        await cache.put("unused")
        cache.clock.advance(1)
        await cache.store.find(cache.key("used"))

    async def look(cache: Cache) -> None:
        [oldest, _] = cache.store.index.least_recently_used()
        assert oldest.key.hash == "unused"

    run(tmp_path, use)
    run(tmp_path, look)
