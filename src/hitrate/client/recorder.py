"""Background recording of cache usage events that never delays or fails a build.

Each event is counted exactly once: `sent` (the server acknowledged it), `dropped` (it
is not recorded), or `unknown` (it was sent, but no response arrived in time).
"""

import atexit
import logging
import os
import secrets
import threading
import time
import uuid
from types import TracebackType
from typing import Any, Self

from hitrate.client import _operations as operations
from hitrate.client._options import EventOptions
from hitrate.client._outbox import Counts, Outbox
from hitrate.client._retry import backoff_s, is_retryable, may_have_arrived
from hitrate.client.detection import detected_agent, detected_ci, detected_interactive
from hitrate.client.errors import BadRequest, HitrateError
from hitrate.client.models import Event, Source, encode_events
from hitrate.client.sync import Hitrate

SESSION_VARIABLE = "HITRATE_SESSION"
"""Environment variable with the session id that all programs of a build share."""

RESEND_WINDOW_S = 9 * 60.0
"""Servers recognize a re-sent batch for ten minutes; later it would be counted twice."""

_REQUEST_TIMEOUT_S = 10.0
_MAX_CLOSING_BACKOFF_S = 0.25
_SPLIT_STATUSES = (400, 413)
"""Possibly caused by a single event: the batch is split and the others are recorded."""

_NONCE_LENGTH = 32
_log = logging.getLogger("hitrate.client")


class _UnconfirmedDelivery:
    """Whether a batch may have arrived without an acknowledgment, and since when."""

    def __init__(self) -> None:
        self.is_unconfirmed = False
        self._sent = self._since = _now()

    def mark_sent(self) -> None:
        self._sent = _now()

    def mark_unconfirmed(self) -> None:
        if not self.is_unconfirmed:
            self.is_unconfirmed = True
            self._since = self._sent

    def age_s(self) -> float:
        """Return the age by the clock that advanced further; one may stop while a laptop sleeps."""
        if not self.is_unconfirmed:
            return 0.0
        return max(now - since for now, since in zip(_now(), self._since, strict=True))


class Recorder:
    """Collects the events of one session and sends them in batches from a background thread.

    A batch is sent when it has 100 events, 200 ms after its first event, and at the end. While the
    server is unavailable, up to `capacity` events wait; further ones are dropped. `close`, which
    the end of a `with` block and of the program calls, waits at most `close_timeout` seconds.
    Lost events are counted. `last_error` is the latest reason; the logger `hitrate.client` reports
    both unless `log_warnings` is False. CI, terminal and coding agent are detected as in `turbo`.
    Threads may share a Recorder; a forked process creates its own.
    """

    def __init__(
        self,
        client: Hitrate,
        *,
        session_id: str | None = None,
        capacity: int = 10_000,
        close_timeout: float = 5.0,
        log_warnings: bool = True,
    ) -> None:
        if not 0 <= close_timeout <= threading.TIMEOUT_MAX or capacity < 1:
            raise BadRequest("close_timeout must be a number of seconds, and capacity at least 1.")
        self.session_id = session_id or os.environ.get(SESSION_VARIABLE) or str(uuid.uuid4())
        self._client = client
        self._close_timeout = close_timeout
        self._headers = _recorder_headers()
        self._outbox = Outbox(capacity)
        self._pid = os.getpid()
        self._is_forked = self._is_started = False
        self._log_warnings = log_warnings
        self._loss_logged = False
        self.last_error = ""
        # Reentrant: a signal handler may record while the thread is starting.
        self._start_lock = threading.RLock()
        self._thread = threading.Thread(target=self._work, name="hitrate-recorder", daemon=True)
        atexit.register(self.close)

    def hit(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        duration_ms: float | None = None,
        *,
        source: Source | str = Source.REMOTE,
    ) -> None:
        """Record a hit. `duration_ms`: how long the task took when it ran."""
        self._record(hash, source, Event.HIT, duration_ms)

    def miss(
        self,
        hash: str,  # noqa: A002  # reason: the contract's name
        *,
        source: Source | str = Source.REMOTE,
    ) -> None:
        """Record a miss."""
        self._record(hash, source, Event.MISS, None)

    @property
    def counts(self) -> Counts:
        """Events so far, by result."""
        self._reset_after_fork()
        return self._outbox.counts

    def close(self) -> None:
        """Send the remaining events within `close_timeout`; may be called twice."""
        self._reset_after_fork()
        if self._is_forked:
            return
        atexit.unregister(self.close)
        self._outbox.close(self._close_timeout)
        if self._thread.is_alive():
            self._thread.join(max(0.0, self._outbox.remaining_s()))
        counts = self._outbox.abandon()
        if (counts.dropped or counts.unknown) and self._log_warnings and not self._loss_logged:
            self._loss_logged = True
            _log.warning(
                "events not recorded: %d dropped, %d sent without a response",
                counts.dropped,
                counts.unknown,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _record(
        self, artifact_hash: str, source: str, event: Event, duration_ms: float | None
    ) -> None:
        item: dict[str, Any] = {"source": source, "event": event, "hash": artifact_hash}
        item["sessionId"] = self.session_id
        if duration_ms is not None:
            item["duration"] = duration_ms
        try:
            self._reset_after_fork()
            self._start_thread()
            encoded = encode_events([item])[1:-1]
        except (HitrateError, RuntimeError) as error:
            self._outbox.drop()
            self._report_problem(f"{artifact_hash!r}: {error}")
            return
        if problem := self._outbox.put(encoded):
            self._report_problem(problem)

    def _reset_after_fork(self) -> None:
        """In a forked process, abandon the parent's outbox, whose lock may be held forever."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._is_forked = True
            self._outbox = Outbox(0)

    def _start_thread(self) -> None:
        """Start the thread once. Raises RuntimeError in a fork and at interpreter shutdown."""
        if self._is_forked:
            raise RuntimeError("this is a forked process; create a Recorder in it")
        with self._start_lock:
            if not self._is_started:
                self._is_started = True
                self._thread.start()

    def _work(self) -> None:
        while batch := self._outbox.next_batch():
            try:
                self._deliver(batch)
            except Exception:  # a bug here must not stop the recording or the build
                _log.exception("events could not be sent")
            self._outbox.settle("unknown")

    def _deliver(self, batch: list[bytes]) -> None:
        """Send a batch until it is acknowledged or abandoned, and count its events."""
        call = operations.record_encoded(_body(batch), self._headers)
        failures, delivery = 0, _UnconfirmedDelivery()
        while True:
            delivery.mark_sent()
            timeout_s = min(_REQUEST_TIMEOUT_S, max(0.1, self._outbox.remaining_s()))
            try:
                self._client.call(call, {"timeout": timeout_s}, retries=0)
            except HitrateError as error:
                problem = error
            else:
                return self._outbox.settle("sent", len(batch))
            failures += 1
            if may_have_arrived(problem):
                delivery.mark_unconfirmed()
            if problem.status in _SPLIT_STATUSES and len(batch) > 1 and not delivery.is_unconfirmed:
                middle = len(batch) // 2
                self._deliver(batch[:middle])
                return self._deliver(batch[middle:])
            if not self._wait_to_retry(problem, failures, delivery):
                if self._outbox.remaining_s() > 0:
                    self._report_problem(str(problem))
                return self._outbox.settle(
                    "unknown" if delivery.is_unconfirmed else "dropped", len(batch)
                )

    def _wait_to_retry(
        self, problem: HitrateError, failures: int, delivery: "_UnconfirmedDelivery"
    ) -> bool:
        """Wait before the next attempt. Return False if the batch must not be sent again."""
        requested_s = getattr(problem, "retry_after", None)
        delay_s = backoff_s(failures, requested_s)
        if requested_s is None and self._outbox.is_closed:
            delay_s = min(delay_s, _MAX_CLOSING_BACKOFF_S)
        return (
            is_retryable(problem, idempotent=True)
            and delivery.age_s() + delay_s < RESEND_WINDOW_S
            and self._outbox.pause(delay_s, requested=requested_s is not None)
        )

    def _report_problem(self, problem: str) -> None:
        # Only changes: a long outage must not fill the build log.
        if problem != self.last_error:
            self.last_error = problem
            if self._log_warnings:
                _log.warning("events are not recorded: %s", problem)


def _now() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _body(batch: list[bytes]) -> bytes:
    # The server treats equal bodies as a re-sent batch. Random whitespace, which JSON ignores,
    # distinguishes this batch from equal ones, also of other programs of the session.
    nonce = "".join(secrets.choice(" \t\n\r") for _ in range(_NONCE_LENGTH))
    return b"[" + b",".join(batch) + b"]" + nonce.encode()


def _recorder_headers() -> dict[str, str]:
    options = EventOptions(
        x_artifact_client_ci=detected_ci(),
        x_artifact_client_interactive=detected_interactive(),
    )
    try:
        return operations.event_headers({**options, "x_ai_agent": detected_agent()})
    except HitrateError:  # an agent's name may contain characters that a header cannot
        return operations.event_headers(options)
