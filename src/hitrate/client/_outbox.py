"""Bounded queue of events that wait to be sent, with counts by result. Guarded by one lock.

Any thread adds events. One thread takes batches and settles them, one at a time.
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
    """Numbers of events by result; `pending` events have no result yet."""

    sent: int
    dropped: int
    unknown: int
    pending: int


class Outbox:
    """A queue of at most `capacity` encoded events, including the batch in flight."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._in_flight = 0
        self._totals: dict[Outcome, int] = {"sent": 0, "dropped": 0, "unknown": 0}
        self._due = math.inf
        self._deadline = math.inf

    @property
    def counts(self) -> Counts:
        """Events so far, by result."""
        with self._changed:
            return Counts(**self._totals, pending=len(self._waiting) + self._in_flight)

    def put(self, event: bytes) -> str | None:
        """Add an event. Return None, or the reason why it was dropped."""
        with self._changed:
            reason = self._rejection_reason()
            if reason:
                self._totals["dropped"] += 1
                return reason
            self._waiting.append(event)
            if len(self._waiting) == 1:
                self._due = time.monotonic() + BATCH_WAIT_S
            if len(self._waiting) in (1, BATCH_EVENTS):
                self._changed.notify_all()
        return None

    def drop(self) -> None:
        """Count an event as dropped that was never added."""
        with self._changed:
            self._totals["dropped"] += 1

    def next_batch(self) -> list[bytes]:
        """Wait for the next batch and return it; empty when the outbox is closed and drained."""
        with self._changed:
            while not self._is_due():
                if self.is_closed:
                    return []
                wait = self._due - time.monotonic() if self._waiting else None
                self._changed.wait(wait)
            self._in_flight = min(BATCH_EVENTS, len(self._waiting))
            self._due = time.monotonic() + BATCH_WAIT_S
            return [self._waiting.popleft() for _ in range(self._in_flight)]

    def settle(self, outcome: Outcome, events: int | None = None) -> None:
        """Count `events` of the batch in flight, or the rest of it, unless it was abandoned."""
        with self._changed:
            settled = min(self._in_flight, self._in_flight if events is None else events)
            self._totals[outcome] += settled
            self._in_flight -= settled

    def pause(self, seconds: float, *, requested: bool) -> bool:
        """Wait before the next attempt. Return False if it would be after the deadline.

        `close` cuts the pause short, unless the server requested it.
        """
        resume_at = time.monotonic() + seconds
        with self._changed:
            if not self.is_closed:
                closed = self._changed.wait_for(lambda: self.is_closed, seconds)
                if closed and not requested:
                    return True
            if resume_at > self._deadline:
                return False
            self._changed.wait(max(0.0, resume_at - time.monotonic()))
            return True

    @property
    def is_closed(self) -> bool:
        """Whether the outbox is closed to new events."""
        return self._deadline != math.inf

    def remaining_s(self) -> float:
        """Return the seconds until the deadline; infinite before `close`."""
        return self._deadline - time.monotonic()

    def close(self, timeout_s: float) -> None:
        """Reject further events. Those in the outbox may be sent for `timeout_s` seconds."""
        with self._changed:
            if not self.is_closed:
                self._deadline = time.monotonic() + timeout_s
                self._changed.notify_all()

    def abandon(self) -> Counts:
        """Count the rest: the batch in flight is unknown, waiting events are dropped."""
        with self._changed:
            self._totals["unknown"] += self._in_flight
            self._totals["dropped"] += len(self._waiting)
            self._in_flight = 0
            self._waiting.clear()
            return self.counts

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if self.is_closed:
            return self.remaining_s() > 0
        return len(self._waiting) >= BATCH_EVENTS or time.monotonic() >= self._due

    def _rejection_reason(self) -> str | None:
        if self.is_closed:
            return "the Recorder is closed"
        if len(self._waiting) + self._in_flight >= self._capacity:
            return f"{self._capacity} events are already waiting"
        return None
