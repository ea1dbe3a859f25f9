"""The asynchronous client on trio, and one client shared by many tasks and by many threads."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from hitrate.client import AsyncHitrate, Hitrate, NotFound
from tests.support.strict_fake import ErrorResponse, StrictFake

CALLS = 30


def test_async_client_works_on_trio(fake: StrictFake, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"from "
        yield b"chunks"

    async def main() -> None:
        async with AsyncHitrate(fake.token, server_url=fake.url) as client:
            await client.artifacts.upload("a", source)
            await client.artifacts.upload("b", chunks())
            async with await trio.open_file(source, "rb") as file:
                await client.artifacts.upload("c", file)
            await client.artifacts.download_to("a", tmp_path / "copy")
            async with client.artifacts.stream("b") as download:
                assert b"".join([chunk async for chunk in download]) == b"from chunks"
            fake.script(ErrorResponse(503, "unavailable", headers={"retry-after": "0"}))
            assert (await client.artifacts.query(["a"]))["a"] is not None
            with pytest.raises(NotFound):
                await client.artifacts.download("nope")

    trio.run(main)

    assert (tmp_path / "copy").read_bytes() == b"from a file"
    assert fake.artifacts["c"].content == b"from a file"


def test_tasks_can_share_a_client(fake: StrictFake) -> None:
    async def main() -> None:
        async with AsyncHitrate(fake.token, server_url=fake.url) as client:

            async def upload_and_download(name: str) -> None:
                await client.artifacts.upload(name, name.encode())
                artifact = await client.artifacts.download(name)
                assert artifact.content == name.encode()

            async with trio.open_nursery() as nursery:
                for number in range(CALLS):
                    nursery.start_soon(upload_and_download, f"task{number}")

    trio.run(main)

    assert len(fake.artifacts) == CALLS


def test_threads_can_share_a_client(fake: StrictFake) -> None:
    with Hitrate(fake.token, server_url=fake.url) as client:

        def upload_and_download(name: str) -> bytes:
            client.artifacts.upload(name, name.encode())
            return client.artifacts.download(name).content

        names = [f"thread{number}" for number in range(CALLS)]
        with ThreadPoolExecutor(10) as threads:
            contents = list(threads.map(upload_and_download, names))

    assert contents == [name.encode() for name in names]
