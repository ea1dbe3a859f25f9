"""The cache: whole artifacts, body and metadata together, a wall around each team."""

import asyncio
from pathlib import Path

import pytest

from hitrate.artifacts.blobs import BlobStore
from hitrate.errors import ServiceUnavailable
from tests.support.artifact_cache import Cache, run


def test_an_artifact_is_found_with_its_body(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("a", b"hello", tag="T")
        found = await cache.store.find(cache.key("a"))
        assert found is not None
        assert (found.size_bytes, found.tag) == (5, "T")
        assert Path(cache.store.blobs.path(cache.team.id, found.blob)).read_bytes() == b"hello"

    run(tmp_path, test)


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    async def put(cache: Cache) -> None:
        await cache.put("a", b"hello")

    async def look(cache: Cache) -> None:
        assert await cache.store.find(cache.key("a"))
        assert cache.store.usage() == (1, 5)

    run(tmp_path, put)
    run(tmp_path, look)


def test_another_team_does_not_see_it(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("a")
        assert await cache.store.find(cache.key("a", cache.other)) is None
        assert await cache.store.remove_team(cache.other.id) == 0
        assert await cache.has("a")

    run(tmp_path, test)


def test_a_replacement_changes_body_and_metadata_together_and_leaves_one_file(
    tmp_path: Path,
) -> None:
    async def test(cache: Cache) -> None:
        old = await cache.put("a", b"old", tag="1")
        new = await cache.put("a", b"newer", tag="2")
        assert await cache.store.find(cache.key("a")) == new
        assert len(cache.files()) == 2, "a reader may still want the old one"
        assert cache.store.usage() == (1, 5)
        cache.store.remove_replaced(0)
        assert [path.name for path in cache.files()] == [new.blob]
        assert old.blob != new.blob

    run(tmp_path, test)


def test_of_uploads_at_once_for_one_hash_one_whole_one_stays(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        bodies = [bytes([n]) * (n + 1) for n in range(50)]
        await asyncio.gather(*(cache.put("a", body, tag=str(len(body))) for body in bodies))
        cache.store.remove_replaced(0)
        found = await cache.store.find(cache.key("a"))
        assert found is not None
        body = Path(cache.store.blobs.path(cache.team.id, found.blob)).read_bytes()
        assert body in bodies
        assert found.tag == str(len(body))
        assert len(cache.files()) == 1
        assert cache.store.usage() == (1, len(body))

    run(tmp_path, test)


def test_removing_what_was_replaced_meanwhile_leaves_the_new_one(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("a", b"old")
        seen = cache.store.index.least_recently_used()
        await cache.put("a", b"new")
        assert await cache.store.remove(seen) == []
        assert await cache.has("a")

    run(tmp_path, test)


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_an_artifact_whose_file_is_not_whole_is_a_miss_and_forgotten(
    tmp_path: Path, damage: str
) -> None:
    async def test(cache: Cache) -> None:
        artifact = await cache.put("a", b"hello")
        path = Path(cache.store.blobs.path(cache.team.id, artifact.blob))
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(b"he")
        assert await cache.store.find(cache.key("a")) is None
        assert not await cache.has("a")
        assert cache.files() == []

    run(tmp_path, test)


def test_a_team_is_emptied_and_counted(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await asyncio.gather(*(cache.put(f"h{n}") for n in range(700)))
        await cache.put("other", team=cache.other)
        assert await cache.store.remove_team(cache.team.id) == 700
        assert await cache.store.find(cache.key("h1")) is None
        assert len(cache.files()) == 1
        assert cache.store.usage() == (1, 4)

    run(tmp_path, test)


def test_an_upload_and_the_emptying_of_its_team_at_once_leave_no_ghost(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        for _ in range(20):
            uploads = [cache.put("a", bytes(n)) for n in range(5)]
            await asyncio.gather(*uploads, cache.store.remove_team(cache.team.id))
            in_memory = await cache.store.find(cache.key("a"))
            assert (in_memory is not None) == await cache.has("a")

    run(tmp_path, test)


def test_many_are_looked_up_at_once(tmp_path: Path) -> None:
    async def test(cache: Cache) -> None:
        await asyncio.gather(*(cache.put(f"h{n}") for n in range(1200)))
        asked = [f"h{n}" for n in range(0, 2400, 2)]
        found = await cache.store.find_many(cache.team.id, asked)
        assert sorted(found) == sorted(h for h in asked if int(h[1:]) < 1200)

    run(tmp_path, test)


def test_a_disk_that_takes_nothing_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(cache: Cache) -> None:
        await cache.put("kept")

        def full(_path: str) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("hitrate.artifacts.blobs._create", full)
        with pytest.raises(ServiceUnavailable, match="disk is full"):
            await cache.put("a")
        monkeypatch.undo()
        assert not await cache.has("a")
        assert len(cache.files()) == 1
        await cache.put("a")

    run(tmp_path, test)


def test_uploads_are_refused_before_the_disk_is_full(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, min_free_bytes=2**62)
    blobs.open()
    with pytest.raises(ServiceUnavailable, match="disk is full"):
        blobs.check_free_space(1)
