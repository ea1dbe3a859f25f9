"""Records the events of a build from the side: it never keeps the build waiting, nor fails it.

Promises that each event ends in exactly one of three counts: `sent` (the server said that it is
recorded), `dropped` (it was not), or `unknown` (it went out, and no answer came before the end).
"""

import atexit
import logging
import math
import os
import secrets
import threading
import time
import uuid
from types import TracebackType
from typing import Any, Self

from hitrate.client import _operations as operations
from hitrate.client._options import EventOptions
from hitrate.client._outbox import Counts, Outbox, Outcome
from hitrate.client._retry import may_have_arrived, pause_s, worth_another_try
from hitrate.client.detection import detected_agent, detected_ci, detected_interactive
from hitrate.client.errors import HitrateError
from hitrate.client.models import Event, Source, encoded_events
from hitrate.client.sync import Hitrate

SESSION = "HITRATE_SESSION"
"""Names the session of all programs that one build runs, when it is set."""

RESEND_S = 9 * 60.0
"""A server takes the same bytes for the same batch during ten minutes; later they count twice."""

_REQUEST_S = 10.0
_MARK_LENGTH = 32
_log = logging.getLogger("hitrate.client")


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
        self.session_id = session_id or os.environ.get(SESSION) or str(uuid.uuid4())
        self._client = client
        self._close_timeout = close_timeout
        self._headers = _who_records()
        self._outbox = Outbox(capacity)
        self._pid = os.getpid()
        self._tell = tell
        self._is_told = False
        self.problem = ""
        self._starting = threading.Lock()
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
        return self._outbox.counts

    def close(self) -> None:
        """Send what is left, as far as the time goes; may be called twice."""
        if self._pid != os.getpid():
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
            self._start_thread()
            encoded = encoded_events([item])[1:-1]
        except (HitrateError, RuntimeError) as error:
            self._outbox.drop()
            self._explain(f"{artifact_hash!r}: {error}")
            return
        if problem := self._outbox.put(encoded):
            self._explain(problem)

    def _start_thread(self) -> None:
        """Raises RuntimeError when there can be none: at the program's end, or in a fork."""
        if self._pid != os.getpid():
            # The parent's outbox is not ours to send, and may have been locked when we were made.
            self._pid = os.getpid()
            self._outbox = Outbox(0)
            self._outbox.close(0)
            raise RuntimeError("this is a forked process, and needs a Recorder of its own")
        if self._thread.ident is None:
            with self._starting:
                if self._thread.ident is None:
                    self._thread.start()

    def _work(self) -> None:
        while batch := self._outbox.next_batch():
            outcome: Outcome = "unknown"
            try:
                outcome = self._deliver(batch)
            except Exception:  # a defect of ours must not end the recording, nor the build
                _log.exception("events could not be sent")
            self._outbox.settle(outcome)

    def _deliver(self, batch: list[bytes]) -> Outcome:
        """Send until there is an answer; the count that the events go to."""
        call = operations.record_encoded(_body(batch), self._headers)
        failures, doubtful_since = 0, math.inf
        while True:
            patience_s = min(_REQUEST_S, max(0.1, self._outbox.left_s()))
            try:
                self._client.call(call, {"timeout": patience_s}, retries=0)
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
                or not self._outbox.pause(pause_s(failures, asked_s), asked=asked_s is not None)
            ):
                if self._outbox.left_s() > 0:
                    self._explain(str(problem))
                return "dropped" if doubtful_since == math.inf else "unknown"

    def _explain(self, problem: str) -> None:
        # Each once: a long outage must not fill the build's log.
        if problem != self.problem:
            self.problem = problem
            if self._tell:
                _log.warning("events are not recorded: %s", problem)


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
