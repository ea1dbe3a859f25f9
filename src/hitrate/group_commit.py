"""Group commit: one background thread makes the work of many callers durable with one flush.

All waiting items are passed to one call of `commit(items)`. When it returns, all callers of the
group resume in one iteration of the event loop. While the disk is busy with one group, the next
one grows, so the cost of a flush is shared by all callers that wait for it.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from hitrate.errors import ServiceUnavailable

Item = TypeVar("Item")

GATHER_S = 0.001
"""Under load, how long a group gathers items: fewer, larger flushes are cheaper for all callers."""

MAX_GROUP_SIZE = 1024


class _Submission(Generic[Item]):
    __slots__ = ("future", "item")

    def __init__(self, item: Item, future: asyncio.Future[None]) -> None:
        self.item = item
        self.future = future


class GroupCommitter(Generic[Item]):
    """Runs `commit` on a dedicated thread, for one group at a time, in order of arrival.

    If `commit` raises, every caller of the group gets the exception, so `commit` must then have
    stored none of the items.
    """

    def __init__(self, name: str, commit: Callable[[list[Item]], None]) -> None:
        self._name = name
        self._commit = commit
        # None stops the thread. All else here is as cheap as possible: the thread and the event
        # loop compete for the interpreter lock, and each acquisition costs both of them.
        self._queue: SimpleQueue[_Submission[Item] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Commit all waiting items and stop the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    async def submit(self, item: Item) -> None:
        """Return when `item` is committed.

        Raises the error of the commit of its group, or ServiceUnavailable after `close`.
        """
        if self._thread is None:
            raise ServiceUnavailable("The server is stopping; try again in a moment.")
        future = asyncio.get_running_loop().create_future()
        self._queue.put(_Submission(item, future))
        await future

    def _run(self) -> None:
        while group := self._next_group():
            error: BaseException | None = None
            try:
                self._commit([submission.item for submission in group])
            except Exception as raised:
                error = raised
            loop = group[0].future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, group, error)
            if len(group) > 1:
                time.sleep(GATHER_S)

    def _next_group(self) -> list[_Submission[Item]]:
        """Wait for an item and return all waiting items; an empty list stops the thread."""
        group: list[_Submission[Item]] = []
        submission = self._queue.get()
        try:
            while submission is not None:
                group.append(submission)
                if len(group) == MAX_GROUP_SIZE:
                    return group
                submission = self._queue.get_nowait()
        except Empty:
            return group
        if group:
            self._queue.put(None)  # stops the thread after this group
        return group


def _resolve(group: list[_Submission[Item]], error: BaseException | None) -> None:
    for submission in group:
        future = submission.future
        if future.done():  # its caller was cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
