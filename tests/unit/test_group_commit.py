"""GroupCommitter: callers resume after the commit of their group, or get its failure."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from hitrate.errors import ServiceUnavailable
from hitrate.group_commit import GroupCommitter


class FakeCommit:
    """A commit function that records its groups and can be blocked or made to fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.unblocked = threading.Event()
        self.unblocked.set()
        self.failure: Exception | None = None

    def __call__(self, items: list[int]) -> None:
        self.unblocked.wait(10)
        if self.failure is not None:
            raise self.failure
        self.groups.append(items)


async def next_loop_iteration() -> None:
    """Let every task that is ready run once."""
    iterated = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(iterated.set_result, None)
    await iterated


@pytest.fixture
def commit() -> FakeCommit:
    return FakeCommit()


@pytest.fixture
def committer(commit: FakeCommit) -> Iterator[GroupCommitter[int]]:
    committer = GroupCommitter("test", commit)
    committer.open()
    yield committer
    commit.unblocked.set()
    committer.close()


def test_concurrent_submissions_share_a_group(
    committer: GroupCommitter[int], commit: FakeCommit
) -> None:
    async def run() -> None:
        commit.unblocked.clear()
        waiting = [asyncio.ensure_future(committer.submit(n)) for n in range(100)]
        await next_loop_iteration()
        commit.unblocked.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert [n for group in commit.groups for n in group] == list(range(100))
    assert len(commit.groups) <= 3


def test_failed_commit_raises_in_its_whole_group_only(
    committer: GroupCommitter[int], commit: FakeCommit
) -> None:
    async def run() -> None:
        commit.failure = ServiceUnavailable("full")
        results = await asyncio.gather(
            *(committer.submit(n) for n in range(5)), return_exceptions=True
        )
        assert all(isinstance(result, ServiceUnavailable) for result in results)
        commit.failure = None
        await committer.submit(6)

    asyncio.run(run())
    assert commit.groups == [[6]]


def test_cancelled_submission_leaves_the_others_committed(
    committer: GroupCommitter[int], commit: FakeCommit
) -> None:
    async def run() -> None:
        commit.unblocked.clear()
        first, second = (asyncio.ensure_future(committer.submit(n)) for n in (1, 2))
        await next_loop_iteration()
        first.cancel()
        commit.unblocked.set()
        await second
        assert first.cancelled()

    asyncio.run(run())


def test_close_commits_waiting_items(commit: FakeCommit) -> None:
    async def run() -> None:
        committer = GroupCommitter("test", commit)
        committer.open()
        commit.unblocked.clear()
        waiting = [asyncio.ensure_future(committer.submit(n)) for n in range(3)]
        await next_loop_iteration()
        commit.unblocked.set()
        await asyncio.to_thread(committer.close)
        await asyncio.gather(*waiting)
        with pytest.raises(ServiceUnavailable):
            await committer.submit(4)
        committer.close()  # closing twice is allowed

    asyncio.run(run())
    assert [n for group in commit.groups for n in group] == [0, 1, 2]
