"""Group commit: one thread makes many callers' work durable with one flush.

All items that wait become one call of `commit(items)`; when it returns, every caller of that
group is woken in one turn of the event loop. A group grows by itself while the disk is busy with
the one before, so the cost of a flush is shared by whoever is waiting for it.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hitrate.errors import Unavailable

Item = TypeVar("Item")


class _Group(Generic[Item]):
    __slots__ = ("items", "loop", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.items: list[Item] = []
        self.waiters: list[asyncio.Future[None]] = []

    def wake(self, error: BaseException | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        for waiter in self.waiters:
            if waiter.done():  # its caller went away
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class GroupCommitter(Generic[Item]):
    """Owns the committing thread. `commit` runs on it, one group at a time, in order of arrival.

    What `commit` raises is raised to every caller of the group: it must then have stored none
    of the group's items.
    """

    def __init__(self, name: str, commit: Callable[[list[Item]], None]) -> None:
        self._name = name
        self._commit = commit
        self._condition = threading.Condition()
        self._group: _Group[Item] | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def open(self) -> None:
        """Start the thread."""
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Commit what waits and end the thread."""
        if self._thread is None:
            return
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()
        self._thread = None

    async def submit(self, item: Item) -> None:
        """Return when `item` is committed; raise what its group's commit raised."""
        with self._condition:
            if self._closing or self._thread is None:
                raise Unavailable("The server is stopping; try again in a moment.")
            group = self._group
            if group is None:
                group = self._group = _Group(asyncio.get_running_loop())
                self._condition.notify()
            waiter = group.loop.create_future()
            group.items.append(item)
            group.waiters.append(waiter)
        await waiter

    def _run(self) -> None:
        while (group := self._next()) is not None:
            error: BaseException | None = None
            try:
                self._commit(group.items)
            except Exception as raised:
                error = raised
            group.wake(error)

    def _next(self) -> _Group[Item] | None:
        with self._condition:
            while self._group is None and not self._closing:
                self._condition.wait()
            group, self._group = self._group, None
            return group
