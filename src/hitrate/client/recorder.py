"""Records the events of a build from the side: it never keeps the build waiting, nor fails it.

Promises that each event ends in exactly one of three counts: `sent` (the server said that it is
recorded), `dropped` (it was not), or `unknown` (it went out, and no answer came before the end).
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
from hitrate.client._retry import may_have_arrived, pause_s, worth_another_try
from hitrate.client.detection import detected_agent, detected_ci, detected_interactive
from hitrate.client.errors import BadRequest, HitrateError
from hitrate.client.models import Event, Source, encoded_events
from hitrate.client.sync import Hitrate

SESSION = "HITRATE_SESSION"
"""Names the session of all programs that one build runs, when it is set."""

RESEND_S = 9 * 60.0
"""A server takes the same bytes for the same batch during ten minutes; later they count twice."""

_REQUEST_S = 10.0
_LAST_PAUSE_S = 0.25
_SPLITTABLE = (400, 413)
"""Perhaps for one event only: then the others are recorded without it."""

_MARK_LENGTH = 32
_log = logging.getLogger("hitrate.client")


class _Doubt:
    """Whether a batch may have arrived without our knowing, and since when."""

    def __init__(self) -> None:
        self.is_there = False
        self._sent = self._since = _now()

    def sends(self) -> None:
        self._sent = _now()

    def begins(self) -> None:
        if not self.is_there:
            self.is_there = True
            self._since = self._sent

    def age_s(self) -> float:
        """By the clock that is further: one of them may have stood still while a laptop slept."""
        if not self.is_there:
            return 0.0
        return max(now - since for now, since in zip(_now(), self._since, strict=True))


class Recorder:
    """Gathers the events of one session, and sends them in batches from a thread of its own.

    A batch goes when 100 events are there, or 200 ms after its first one, and at the end. While
    the server is away up to `capacity` events are kept, and what comes beyond them is dropped.
    `close`, which the end of a `with` and of the program calls, waits at most `close_timeout`
    seconds. What is lost is counted, the latest reason is `problem`, and both are told through the
    logger `hitrate.client`, unless `tell` is False. CI, interactivity and coding agent are
    detected as `turbo` does it. Threads may share a Recorder; a forked process makes its own.
    """

    def __init__(
        self,
        client: Hitrate,
        *,
        session_id: str | None = None,
        capacity: int = 10_000,
        close_timeout: float = 5.0,
        tell: bool = True,
    ) -> None:
        if not 0 <= close_timeout <= threading.TIMEOUT_MAX or capacity < 1:
            raise BadRequest("close_timeout must be some seconds, and capacity 1 or more.")
        self.session_id = session_id or os.environ.get(SESSION) or str(uuid.uuid4())
        self._client = client
        self._close_timeout = close_timeout
        self._headers = _who_records()
        self._outbox = Outbox(capacity)
        self._pid = os.getpid()
        self._is_forked = self._is_started = False
        self._tell = tell
        self._is_told = False
        self.problem = ""
        # A signal's handler may record while we are starting.
        self._starting = threading.RLock()
        self._thread = threading.Thread(target=self._work, name="hitrate-recorder", daemon=True)
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
        self._leave_parent()
        return self._outbox.counts

    def close(self) -> None:
        """Send what is left, as far as the time goes; may be called twice."""
        self._leave_parent()
        if self._is_forked:
            return
        atexit.unregister(self.close)
        self._outbox.close(self._close_timeout)
        if self._thread.is_alive():
            self._thread.join(max(0.0, self._outbox.left_s()))
        counts = self._outbox.give_up()
        if (counts.dropped or counts.unknown) and self._tell and not self._is_told:
            self._is_told = True
            _log.warning(
                "events not recorded: %d dropped, %d sent without an answer",
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
            self._leave_parent()
            self._start_thread()
            encoded = encoded_events([item])[1:-1]
        except (HitrateError, RuntimeError) as error:
            self._outbox.drop()
            self._explain(f"{artifact_hash!r}: {error}")
            return
        if problem := self._outbox.put(encoded):
            self._explain(problem)

    def _leave_parent(self) -> None:
        """In a forked process: the outbox is the parent's to send, and may be locked for ever."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._is_forked = True
            self._outbox = Outbox(0)

    def _start_thread(self) -> None:
        """Raises RuntimeError where there can be none: in a fork, or when the program ends."""
        if self._is_forked:
            raise RuntimeError("this is a forked process, and needs a Recorder of its own")
        with self._starting:
            if not self._is_started:
                self._is_started = True
                self._thread.start()

    def _work(self) -> None:
        while batch := self._outbox.next_batch():
            try:
                self._deliver(batch)
            except Exception:  # a defect of ours must not end the recording, nor the build
                _log.exception("events could not be sent")
            self._outbox.settle("unknown")

    def _deliver(self, batch: list[bytes]) -> None:
        """Send until there is an answer, and count the events."""
        call = operations.record_encoded(_body(batch), self._headers)
        failures, doubt = 0, _Doubt()
        while True:
            doubt.sends()
            patience_s = min(_REQUEST_S, max(0.1, self._outbox.left_s()))
            try:
                self._client.call(call, {"timeout": patience_s}, retries=0)
            except HitrateError as error:
                problem = error
            else:
                return self._outbox.settle("sent", len(batch))
            failures += 1
            if may_have_arrived(problem):
                doubt.begins()
            if problem.status in _SPLITTABLE and len(batch) > 1 and not doubt.is_there:
                middle = len(batch) // 2
                self._deliver(batch[:middle])
                return self._deliver(batch[middle:])
            if not self._may_go_again(problem, failures, doubt):
                if self._outbox.left_s() > 0:
                    self._explain(str(problem))
                return self._outbox.settle("unknown" if doubt.is_there else "dropped", len(batch))

    def _may_go_again(self, problem: HitrateError, failures: int, doubt: "_Doubt") -> bool:
        """After the pause that the failure calls for; False where that would be too late."""
        asked_s = getattr(problem, "retry_after", None)
        pause = pause_s(failures, asked_s)
        if asked_s is None and self._outbox.is_ending:
            pause = min(pause, _LAST_PAUSE_S)
        return (
            worth_another_try(problem, harmless=True)
            and doubt.age_s() + pause < RESEND_S
            and self._outbox.pause(pause, asked=asked_s is not None)
        )

    def _explain(self, problem: str) -> None:
        # Each once: a long outage must not fill the build's log.
        if problem != self.problem:
            self.problem = problem
            if self._tell:
                _log.warning("events are not recorded: %s", problem)


def _now() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _body(batch: list[bytes]) -> bytes:
    # A server takes equal bodies for one batch sent again. Blanks, which mean nothing in JSON,
    # tell this one from any other, also of another program of the session.
    mark = "".join(secrets.choice(" \t\n\r") for _ in range(_MARK_LENGTH))
    return b"[" + b",".join(batch) + b"]" + mark.encode()


def _who_records() -> dict[str, str]:
    said = EventOptions(
        x_artifact_client_ci=detected_ci(),
        x_artifact_client_interactive=detected_interactive(),
    )
    try:
        return operations.event_headers({**said, "x_ai_agent": detected_agent()})
    except HitrateError:  # the agent's name is anybody's to choose, and may not fit a header
        return operations.event_headers(said)
