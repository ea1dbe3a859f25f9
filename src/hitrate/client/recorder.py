"""Records the events of a build from the side: it never keeps the build waiting, nor fails it.

Promises that each event ends in exactly one of three counts: `sent` (the server said that it is
recorded), `dropped` (it was not), or `unknown` (it went out, and no answer came before the end).
"""

import atexit
import hashlib
import logging
import math
import os
import threading
import time
import uuid
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

from hitrate.client import _operations as operations
from hitrate.client._options import EventOptions
from hitrate.client._retry import may_have_arrived, pause_s, worth_another_try
from hitrate.client.detection import detected_agent, detected_ci, detected_interactive
from hitrate.client.errors import HitrateError
from hitrate.client.models import Event, Source, encoded_events
from hitrate.client.sync import Hitrate

SESSION = "HITRATE_SESSION"
"""Names the session of all programs that one build runs, when it is set."""

BATCH_EVENTS = 100
BATCH_WAIT_S = 0.2
RESEND_S = 9 * 60.0
"""A server takes the same bytes for the same batch during ten minutes; later they count twice."""

_REQUEST_S = 10.0
_log = logging.getLogger("hitrate.client")


class Counts(NamedTuple):
    """Events by what became of them; `pending` ones are still to come."""

    sent: int
    dropped: int
    unknown: int
    pending: int


class Recorder:
    """Gathers the events of one session, and sends them in batches from a thread of its own.

    A batch goes when 100 events are there, or 200 ms after its first one, and at the end. While
    the server is away up to `capacity` events are kept, and what comes beyond them is dropped.
    `close`, which the end of a `with` and of the program calls, waits at most `close_timeout`
    seconds. What is lost is counted, and told through the logger `hitrate.client`. CI,
    interactivity and coding agent are detected as `turbo` does it. Threads may share a Recorder;
    a forked process makes its own.
    """

    _changed: threading.Condition
    _closing: bool

    def __init__(
        self,
        client: Hitrate,
        *,
        session_id: str | None = None,
        capacity: int = 10_000,
        close_timeout: float = 5.0,
    ) -> None:
        self.session_id = session_id or os.environ.get(SESSION) or str(uuid.uuid4())
        self._client = client
        self._capacity = capacity
        self._close_timeout = close_timeout
        self._headers = _who_records()
        self._digests: set[bytes] = set()
        self._thread = threading.Thread(target=self._work, name="hitrate-recorder", daemon=True)
        self._begin()
        atexit.register(self.close)

    def hit(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        duration_ms: float | None = None,
        *,
        source: Source | str = Source.REMOTE,
    ) -> None:
        """The artifact was found; making it had taken `duration_ms`."""
        self._record(hash, source, Event.HIT, duration_ms)

    def miss(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        *,
        source: Source | str = Source.REMOTE,
    ) -> None:
        """The artifact was not found."""
        self._record(hash, source, Event.MISS, None)

    @property
    def counts(self) -> Counts:
        """What has become of the events so far."""
        with self._changed:
            pending = len(self._waiting) + self._in_flight
            return Counts(self._sent, self._dropped, self._unknown, pending)

    def close(self) -> None:
        """Send what is left, as far as the time goes; may be called twice."""
        if self._is_forked():
            return
        atexit.unregister(self.close)
        with self._changed:
            if not self._closing:
                self._closing = True
                self._end = time.monotonic() + self._close_timeout
                self._changed.notify_all()
            left = self._end - time.monotonic()
        if self._thread.is_alive():
            self._thread.join(max(left, 0))
        self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._closing = False
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._in_flight = self._sent = self._dropped = self._unknown = 0
        self._due = self._end = math.inf
        self._problem = ""

    def _is_forked(self) -> bool:
        """In a forked child all starts anew, and closed: the sending thread is the parent's."""
        if self._pid != os.getpid():
            self._begin()
            self._closing = True
        return self._closing and self._end == math.inf

    def _record(
        self, artifact_hash: str, source: str, event: Event, duration_ms: float | None
    ) -> None:
        if self._is_forked():
            self._drop("this is a forked process, and needs a Recorder of its own")
            return
        item: dict[str, Any] = {"source": source, "event": event, "hash": artifact_hash}
        item["sessionId"] = self.session_id
        if duration_ms is not None:
            item["duration"] = duration_ms
        try:
            encoded = encoded_events([item])[1:-1]
        except HitrateError as error:
            self._drop(str(error))
            return
        with self._changed:
            problem = self._enqueue(encoded)
        if problem:
            self._drop(problem)

    def _enqueue(self, encoded: bytes) -> str | None:
        if self._closing:
            return "the Recorder is closed"
        if len(self._waiting) + self._in_flight >= self._capacity:
            return f"{self._capacity} events wait already"
        self._waiting.append(encoded)
        if len(self._waiting) == 1:
            self._due = time.monotonic() + BATCH_WAIT_S
        if len(self._waiting) in (1, BATCH_EVENTS):
            self._changed.notify_all()
        if self._thread.ident is None:
            self._thread.start()
        return None

    def _work(self) -> None:
        while batch := self._next_batch():
            outcome = "unknown"
            try:
                outcome = self._deliver(batch)
            except Exception:  # a defect of ours must not end the recording, nor the build
                _log.exception("events could not be sent")
            with self._changed:
                self._settle(outcome)

    def _next_batch(self) -> list[bytes]:
        """The events to send now; none when this is the end."""
        with self._changed:
            while not self._is_batch_due():
                if self._closing:
                    return []
                wait = self._due - time.monotonic() if self._waiting else None
                self._changed.wait(wait)
            size = min(BATCH_EVENTS, len(self._waiting))
            self._in_flight = size
            self._due = time.monotonic() + BATCH_WAIT_S
            return [self._waiting.popleft() for _ in range(size)]

    def _is_batch_due(self) -> bool:
        if not self._waiting:
            return False
        if self._closing:
            return time.monotonic() < self._end
        return len(self._waiting) >= BATCH_EVENTS or time.monotonic() >= self._due

    def _deliver(self, batch: list[bytes]) -> str:
        """Send until there is an answer; the count that the events go to."""
        call = operations.record_encoded(self._distinct(batch), self._headers)
        failures, doubtful_since = 0, math.inf
        while True:
            try:
                self._client.call(call, {"timeout": self._patience_s()}, retries=0)
            except HitrateError as error:
                problem = error
            else:
                return "sent"
            failures += 1
            if may_have_arrived(problem):
                doubtful_since = min(doubtful_since, time.monotonic())
            asked_s = getattr(problem, "retry_after", None)
            if (
                not worth_another_try(problem, harmless=True)
                or time.monotonic() - doubtful_since > RESEND_S
                or not self._pause(pause_s(failures, asked_s), asked=asked_s is not None)
            ):
                self._explain(str(problem))
                return "dropped" if doubtful_since == math.inf else "unknown"

    def _distinct(self, batch: list[bytes]) -> bytes:
        # A body that was there before would be taken for the same batch, sent again.
        body = b"[" + b",".join(batch) + b"]"
        while (digest := hashlib.sha256(body).digest()) in self._digests:
            body += b" "
        self._digests.add(digest)
        return body

    def _patience_s(self) -> float:
        return min(_REQUEST_S, max(0.1, self._end - time.monotonic()))

    def _pause(self, seconds: float, *, asked: bool) -> bool:
        """Wait before the next attempt; False if it would come too late.

        The end cuts a pause short, unless the server asked for it.
        """
        until = time.monotonic() + seconds
        with self._changed:
            if not self._closing:
                ending = self._changed.wait_for(lambda: self._closing, seconds)
                if ending and not asked:
                    return True
            if until > self._end:
                return False
            self._changed.wait(max(0, until - time.monotonic()))
            return True

    def _settle(self, outcome: str) -> None:
        events, self._in_flight = self._in_flight, 0
        if outcome == "sent":
            self._sent += events
        elif outcome == "dropped":
            self._dropped += events
        else:
            self._unknown += events

    def _give_up(self) -> None:
        with self._changed:
            self._dropped += len(self._waiting)
            self._waiting.clear()
            self._settle("unknown")
            counts = f"{self._dropped} dropped, {self._unknown} sent without an answer"
            lost = self._dropped + self._unknown
        if lost:
            _log.warning("events not recorded: %s", counts)

    def _drop(self, problem: str) -> None:
        with self._changed:
            self._dropped += 1
        self._explain(problem)

    def _explain(self, problem: str) -> None:
        # Each once: a long outage must not fill the build's log.
        if problem != self._problem:
            self._problem = problem
            _log.warning("events are not recorded: %s", problem)


def _who_records() -> dict[str, str]:
    said = EventOptions(
        x_artifact_client_ci=detected_ci(),
        x_artifact_client_interactive=detected_interactive(),
    )
    try:
        return operations.event_headers({**said, "x_ai_agent": detected_agent()})
    except HitrateError:  # the agent's name is anybody's to choose, and may not fit a header
        return operations.event_headers(said)
