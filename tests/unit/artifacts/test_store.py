"""Artifact store: atomic replacement, team isolation, missing bodies, a full disk."""

import asyncio
from pathlib import Path

import pytest

from hitrate.artifacts.blobs import BlobStore
from hitrate.errors import ServiceUnavailable
from tests.support.artifact_cache import CacheFixture, run_with_cache


def test_find_returns_an_artifact_with_its_body(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("a", b"hello", tag="T")
        artifact = await cache.store.find(cache.key("a"))
        assert artifact is not None
        assert (artifact.size_bytes, artifact.tag) == (5, "T")
        assert Path(cache.store.blobs.path(cache.team.id, artifact.blob)).read_bytes() == b"hello"

    run_with_cache(tmp_path, test)


def test_artifact_survives_a_restart(tmp_path: Path) -> None:
    async def put(cache: CacheFixture) -> None:
        await cache.put("a", b"hello")

    async def check(cache: CacheFixture) -> None:
        assert await cache.store.find(cache.key("a"))
        assert cache.store.usage() == (1, 5)

    run_with_cache(tmp_path, put)
    run_with_cache(tmp_path, check)


def test_artifact_is_invisible_to_another_team(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("a")
        assert await cache.store.find(cache.key("a", cache.other)) is None
        assert await cache.store.remove_team(cache.other.id) == 0
        assert await cache.exists("a")

    run_with_cache(tmp_path, test)


def test_replacement_changes_body_and_metadata_and_leaves_one_file(
    tmp_path: Path,
) -> None:
    async def test(cache: CacheFixture) -> None:
        old = await cache.put("a", b"old", tag="1")
        new = await cache.put("a", b"newer", tag="2")
        assert await cache.store.find(cache.key("a")) == new
        assert len(cache.files()) == 2, "a reader may still open the old body"
        assert cache.store.usage() == (1, 5)
        cache.store.remove_replaced(0)
        assert [path.name for path in cache.files()] == [new.blob]
        assert old.blob != new.blob

    run_with_cache(tmp_path, test)


def test_concurrent_uploads_of_one_hash_leave_one_whole_artifact(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        bodies = [bytes([n]) * (n + 1) for n in range(50)]
        await asyncio.gather(*(cache.put("a", body, tag=str(len(body))) for body in bodies))
        cache.store.remove_replaced(0)
        artifact = await cache.store.find(cache.key("a"))
        assert artifact is not None
        body = Path(cache.store.blobs.path(cache.team.id, artifact.blob)).read_bytes()
        assert body in bodies
        assert artifact.tag == str(len(body))
        assert len(cache.files()) == 1
        assert cache.store.usage() == (1, len(body))

    run_with_cache(tmp_path, test)


def test_removal_of_a_replaced_artifact_leaves_the_new_one(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("a", b"old")
        refs = cache.store.index.least_recently_used()
        await cache.put("a", b"new")
        assert await cache.store.remove(refs) == []
        assert await cache.exists("a")

    run_with_cache(tmp_path, test)


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_artifact_with_a_missing_or_truncated_body_is_a_miss_and_removed(
    tmp_path: Path, damage: str
) -> None:
    async def test(cache: CacheFixture) -> None:
        artifact = await cache.put("a", b"hello")
        path = Path(cache.store.blobs.path(cache.team.id, artifact.blob))
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(b"he")
        assert await cache.store.find(cache.key("a")) is None
        assert not await cache.exists("a")
        assert cache.files() == []

    run_with_cache(tmp_path, test)


def test_remove_team_deletes_and_counts_all_its_artifacts(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await asyncio.gather(*(cache.put(f"h{n}") for n in range(700)))
        await cache.put("other", team=cache.other)
        assert await cache.store.remove_team(cache.team.id) == 700
        assert await cache.store.find(cache.key("h1")) is None
        assert len(cache.files()) == 1
        assert cache.store.usage() == (1, 4)

    run_with_cache(tmp_path, test)


def test_cache_matches_the_database_after_concurrent_uploads_and_remove_team(
    tmp_path: Path,
) -> None:
    async def test(cache: CacheFixture) -> None:
        for _ in range(20):
            uploads = [cache.put("a", bytes(n)) for n in range(5)]
            await asyncio.gather(*uploads, cache.store.remove_team(cache.team.id))
            in_memory = await cache.store.find(cache.key("a"))
            assert (in_memory is not None) == await cache.exists("a")

    run_with_cache(tmp_path, test)


def test_find_many_spans_several_batches(tmp_path: Path) -> None:
    async def test(cache: CacheFixture) -> None:
        await asyncio.gather(*(cache.put(f"h{n}") for n in range(1200)))
        hashes = [f"h{n}" for n in range(0, 2400, 2)]
        artifacts = await cache.store.find_many(cache.team.id, hashes)
        assert sorted(artifacts) == sorted(h for h in hashes if int(h[1:]) < 1200)

    run_with_cache(tmp_path, test)


def test_failed_upload_on_a_full_disk_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(cache: CacheFixture) -> None:
        await cache.put("existing")

        def full(_path: str) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("hitrate.artifacts.blobs._create", full)
        with pytest.raises(ServiceUnavailable, match="disk is full"):
            await cache.put("a")
        monkeypatch.undo()
        assert not await cache.exists("a")
        assert len(cache.files()) == 1
        await cache.put("a")

    run_with_cache(tmp_path, test)


def test_uploads_are_rejected_below_the_minimum_of_free_space(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, min_free_bytes=2**62)
    blobs.open()
    with pytest.raises(ServiceUnavailable, match="disk is full"):
        blobs.check_free_space(1)
