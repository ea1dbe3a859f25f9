"""Group commit: one thread makes many callers' work durable with one flush.

All items that wait become one call of `commit(items)`; when it returns, every caller of that
group is woken in one turn of the event loop. A group grows by itself while the disk is busy with
the one before, so the cost of a flush is shared by whoever is waiting for it.
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
"""Under load, how long a group gathers: fewer and larger flushes cost everyone less."""

_MOST = 1024


class _Waiting(Generic[Item]):
    __slots__ = ("item", "waiter")

    def __init__(self, item: Item, waiter: asyncio.Future[None]) -> None:
        self.item = item
        self.waiter = waiter


class GroupCommitter(Generic[Item]):
    """Owns the committing thread. `commit` runs on it, one group at a time, in order of arrival.

    What `commit` raises is raised to every caller of the group: it must then have stored none
    of the group's items.
    """

    def __init__(self, name: str, commit: Callable[[list[Item]], None]) -> None:
        self._name = name
        self._commit = commit
        # None ends the thread. Everything else here is as cheap as it can be: the thread shares
        # the interpreter's lock with the event loop, and each turn at it costs both of them.
        self._queue: SimpleQueue[_Waiting[Item] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Commit what waits and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    async def submit(self, item: Item) -> None:
        """Return when `item` is committed; raise what its group's commit raised."""
        if self._thread is None:
            raise ServiceUnavailable("The server is stopping; try again in a moment.")
        waiter = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(item, waiter))
        await waiter

    def _run(self) -> None:
        while group := self._next():
            error: BaseException | None = None
            try:
                self._commit([waiting.item for waiting in group])
            except Exception as raised:
                error = raised
            loop = group[0].waiter.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, group, error)
            if len(group) > 1:
                time.sleep(GATHER_S)

    def _next(self) -> list[_Waiting[Item]]:
        """All that wait, as soon as any does; empty at the end."""
        group: list[_Waiting[Item]] = []
        waiting = self._queue.get()
        try:
            while waiting is not None:
                group.append(waiting)
                if len(group) == _MOST:
                    return group
                waiting = self._queue.get_nowait()
        except Empty:
            return group
        if group:
            self._queue.put(None)  # seen again after this group
        return group


def _settle(group: list[_Waiting[Item]], error: BaseException | None) -> None:
    for waiting in group:
        waiter = waiting.waiter
        if waiter.done():  # its caller went away
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
