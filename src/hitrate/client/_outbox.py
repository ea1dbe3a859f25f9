"""Events that wait to be sent, and the counts of what became of them; all under one lock.

One thread takes batches and settles them, one at a time; any thread puts events in.
"""

import math
import threading
import time
from collections import deque
from typing import Literal, NamedTuple

BATCH_EVENTS = 100
BATCH_WAIT_S = 0.2

Outcome = Literal["sent", "dropped", "unknown"]


class Counts(NamedTuple):
    """Events by what became of them; `pending` ones are still to come."""

    sent: int
    dropped: int
    unknown: int
    pending: int


class Outbox:
    """A queue of at most `capacity` encoded events, the batch under way included."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._under_way = 0
        self._totals: dict[Outcome, int] = {"sent": 0, "dropped": 0, "unknown": 0}
        self._due = math.inf
        self._end = math.inf

    @property
    def counts(self) -> Counts:
        """What has become of the events so far."""
        with self._changed:
            return Counts(**self._totals, pending=len(self._waiting) + self._under_way)

    def put(self, event: bytes) -> str | None:
        """Why the event is not taken, and counted as dropped; None if it is."""
        with self._changed:
            problem = self._problem()
            if problem:
                self._totals["dropped"] += 1
                return problem
            self._waiting.append(event)
            if len(self._waiting) == 1:
                self._due = time.monotonic() + BATCH_WAIT_S
            if len(self._waiting) in (1, BATCH_EVENTS):
                self._changed.notify_all()
        return None

    def drop(self) -> None:
        """Count an event that never came in."""
        with self._changed:
            self._totals["dropped"] += 1

    def next_batch(self) -> list[bytes]:
        """The events to send now, when there are enough or it is time; none at the end."""
        with self._changed:
            while not self._is_due():
                if self.is_ending:
                    return []
                wait = self._due - time.monotonic() if self._waiting else None
                self._changed.wait(wait)
            self._under_way = min(BATCH_EVENTS, len(self._waiting))
            self._due = time.monotonic() + BATCH_WAIT_S
            return [self._waiting.popleft() for _ in range(self._under_way)]

    def settle(self, outcome: Outcome, events: int | None = None) -> None:
        """Count so many events of the batch under way, or the rest, unless it was given up."""
        with self._changed:
            settled = min(self._under_way, self._under_way if events is None else events)
            self._totals[outcome] += settled
            self._under_way -= settled

    def pause(self, seconds: float, *, asked: bool) -> bool:
        """Wait before the next attempt; False if that would come after the end.

        The beginning of the end cuts a pause short, unless the server asked for it.
        """
        until = time.monotonic() + seconds
        with self._changed:
            if not self.is_ending:
                ending = self._changed.wait_for(lambda: self.is_ending, seconds)
                if ending and not asked:
                    return True
            if until > self._end:
                return False
            self._changed.wait(max(0.0, until - time.monotonic()))
            return True

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is taken in."""
        return self._end != math.inf

    def left_s(self) -> float:
        """Seconds until the end; infinite before `close`."""
        return self._end - time.monotonic()

    def close(self, timeout_s: float) -> None:
        """Take nothing more in; what is there may go for so many seconds."""
        with self._changed:
            if not self.is_ending:
                self._end = time.monotonic() + timeout_s
                self._changed.notify_all()

    def give_up(self) -> Counts:
        """Count what is left: nobody knows of the batch under way, and the rest is dropped."""
        with self._changed:
            self._totals["unknown"] += self._under_way
            self._totals["dropped"] += len(self._waiting)
            self._under_way = 0
            self._waiting.clear()
            return self.counts

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if self.is_ending:
            return self.left_s() > 0
        return len(self._waiting) >= BATCH_EVENTS or time.monotonic() >= self._due

    def _problem(self) -> str | None:
        if self.is_ending:
            return "the Recorder is closed"
        if len(self._waiting) + self._under_way >= self._capacity:
            return f"{self._capacity} events wait already"
        return None
