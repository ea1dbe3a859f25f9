"""Group commit: everybody is answered, once, after their group was committed."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from hitrate.errors import ServiceUnavailable
from hitrate.group_commit import GroupCommitter


class Recorder:
    """A commit that can be held back and made to fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()
        self.failure: Exception | None = None

    def __call__(self, items: list[int]) -> None:
        self.free.wait(10)
        if self.failure is not None:
            raise self.failure
        self.groups.append(items)


async def turn_of_the_loop() -> None:
    """Let every task that is ready run once."""
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def committer(recorder: Recorder) -> Iterator[GroupCommitter[int]]:
    committer = GroupCommitter("test", recorder)
    committer.open()
    yield committer
    recorder.free.set()
    committer.close()


def test_those_who_wait_share_a_group(committer: GroupCommitter[int], recorder: Recorder) -> None:
    async def run() -> None:
        recorder.free.clear()
        waiting = [asyncio.ensure_future(committer.submit(n)) for n in range(100)]
        await turn_of_the_loop()
        recorder.free.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert [n for group in recorder.groups for n in group] == list(range(100))
    assert len(recorder.groups) <= 3


def test_a_failure_reaches_the_whole_group_and_only_it(
    committer: GroupCommitter[int], recorder: Recorder
) -> None:
    async def run() -> None:
        recorder.failure = ServiceUnavailable("full")
        answers = await asyncio.gather(
            *(committer.submit(n) for n in range(5)), return_exceptions=True
        )
        assert all(isinstance(answer, ServiceUnavailable) for answer in answers)
        recorder.failure = None
        await committer.submit(6)

    asyncio.run(run())
    assert recorder.groups == [[6]]


def test_one_who_goes_away_leaves_the_others_answered(
    committer: GroupCommitter[int], recorder: Recorder
) -> None:
    async def run() -> None:
        recorder.free.clear()
        first, second = (asyncio.ensure_future(committer.submit(n)) for n in (1, 2))
        await turn_of_the_loop()
        first.cancel()
        recorder.free.set()
        await second
        assert first.cancelled()

    asyncio.run(run())


def test_closing_commits_what_waits(recorder: Recorder) -> None:
    async def run() -> None:
        committer = GroupCommitter("test", recorder)
        committer.open()
        recorder.free.clear()
        waiting = [asyncio.ensure_future(committer.submit(n)) for n in range(3)]
        await turn_of_the_loop()
        recorder.free.set()
        await asyncio.to_thread(committer.close)
        await asyncio.gather(*waiting)
        with pytest.raises(ServiceUnavailable):
            await committer.submit(4)
        committer.close()  # twice is no error

    asyncio.run(run())
    assert [n for group in recorder.groups for n in group] == [0, 1, 2]
