"""Background threads that repeat one job until they are closed."""

import os
import threading
from collections.abc import Callable

from hitrate import log
from hitrate.errors import ServiceUnavailable

_log = log.get_logger("background")

_NICENESS = 10


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread.

    On a busy machine, threads that serve requests then run first, so that clients are not delayed.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class PeriodicThread:
    """A daemon thread that calls `job` every `interval_s` seconds.

    `job` may return the delay in seconds until its next call; None means `interval_s`. An
    exception is logged and the job is called again after `interval_s`. `wake` starts the next
    call early, but never sooner than `min_pause_s` after the end of the previous one.

    `on_start` is called once on the thread, for example to lower its priority.
    """

    def __init__(
        self,
        name: str,
        job: Callable[[], float | None],
        interval_s: float,
        *,
        initial_delay_s: float | None = None,
        min_pause_s: float = 0.0,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        """`initial_delay_s` is the delay before the first call; None means `interval_s`."""
        self._name = name
        self._job = job
        self._interval_s = interval_s
        self._initial_delay_s = interval_s if initial_delay_s is None else initial_delay_s
        self._min_pause_s = min_pause_s
        self._on_start = on_start
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._stop.clear()
            self._wake.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> bool:
        """Stop the thread after the call in progress; return whether it was open.

        The caller then does its final pass, if it has one: `run_once` calls the job once more.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return False
        self._stop.set()
        self._wake.set()
        thread.join()
        return True

    def wake(self) -> None:
        """Start the next call of the job now, or right after the call in progress."""
        self._wake.set()

    @property
    def stopping(self) -> bool:
        """Whether `close` has been called since the last `open`. A long job polls this."""
        return self._stop.is_set()

    def pause(self, timeout_s: float) -> bool:
        """Wait inside the job for `timeout_s`, or until `close`; return `stopping`."""
        return self._stop.wait(timeout_s)

    def run_once(self) -> float:
        """Call the job on this thread, log its failure, return the delay until the next call."""
        delay_s: float | None = None
        try:
            delay_s = self._job()
        except ServiceUnavailable as error:
            _log.warning("background job postponed", thread=self._name, reason=str(error))
        except Exception:
            _log.exception("background job failed", thread=self._name)
        return self._interval_s if delay_s is None else delay_s

    def _run(self) -> None:
        if self._on_start is not None:
            self._on_start()
        delay_s = self._initial_delay_s
        while not self._stop.is_set():
            self._wake.wait(delay_s)
            self._wake.clear()
            if self._stop.is_set():
                return
            delay_s = self.run_once()
            self._stop.wait(self._min_pause_s)
