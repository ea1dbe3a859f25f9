"""Background thread that loads closed spool segments into the event store.

Twice a second it closes the open segment, loads every closed one and removes its file. While the
event store is unavailable, segments accumulate in the spool. A batch that can never be loaded is
quarantined, and the rest of its segment is loaded.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hitrate import log
from hitrate.background import PeriodicThread, lower_thread_priority
from hitrate.clock import Clock
from hitrate.errors import DatabaseError, EventStoreUnavailable, InvalidSegment
from hitrate.events import wire
from hitrate.events.models import DuplicateBatch, LoadObserver, LoadResult, SpooledBatch
from hitrate.events.quarantine import Quarantine, segment_file
from hitrate.events.spool import Spool, SpoolPosition, sync_directory
from hitrate.events.store import DuckDBEventStore
from hitrate.events.transfers import TransferCounter
from hitrate.metrics import Metrics

POLL_INTERVAL_S = 0.5
RETRY_INTERVAL_S = 1.0
MIN_PAUSE_S = 0.02
"""Pause after each pass: callers of `catch_up` must not keep the loader running all the time."""
PRUNE_INTERVAL_S = 60.0
TRANSFER_FLUSH_INTERVAL_S = 2.0
OBSERVER_TIMEOUT_S = 3.0
"""A segment is loaded at this age even if an observer is not ready for it."""

_log = log.get_logger("events")


class Loader:
    """The loading thread. Only it opens the event store, so an unavailable store delays no one."""

    def __init__(
        self,
        spool: Spool,
        store: DuckDBEventStore,
        quarantine: Quarantine,
        metrics: Metrics,
        clock: Clock,
        *,
        event_ttl_s: float | None = None,
        transfers: TransferCounter | None = None,
        observers: Sequence[LoadObserver] = (),
    ) -> None:
        """`transfers` is flushed to the event store periodically. Events older than `event_ttl_s`
        are pruned."""
        self._spool = spool
        self._store = store
        self._quarantine = quarantine
        self._metrics = metrics
        self._clock = clock
        self._event_ttl_s = event_ttl_s
        self._transfers = transfers
        self._observers = tuple(observers)
        # A crash may have come between the last load and its notification.
        self._dirty = set(self._observers)
        self._is_open = False
        self._thread = PeriodicThread(
            "loader",
            self._load_periodically,
            POLL_INTERVAL_S,
            initial_delay_s=0.0,
            min_pause_s=MIN_PAUSE_S,
            on_start=lower_thread_priority,
        )
        self._passes = threading.Condition()
        self._last_started_pass = self._last_complete_pass = 0
        self._flush_requested = False
        self._transfers_flushed_at = float("-inf")
        self._pruned_at = time.monotonic()
        self.last_error: str | None = None
        """Why segments cannot be loaded now, or None."""

    def open(self) -> None:
        """Call the observers' `recover`, then start the thread."""
        if self._is_open:
            return
        self._quarantine.open()
        for observer in self._observers:
            observer.recover(self._batches_after)
        self._thread.open()
        self._is_open = True

    def close(self, timeout_s: float = 4.0) -> None:
        """Load segments for up to `timeout_s` seconds, then stop. The rest stays in the spool."""
        self._is_open = False
        if not self._thread.close():
            return
        try:
            self.run_once(time.monotonic() + timeout_s)
        finally:
            self._close_store()

    def run_once(self, deadline: float = float("inf"), *, flush_transfers: bool = True) -> bool:
        """Load all segments, until `deadline` (monotonic clock). Return whether nothing failed.

        Without `flush_transfers`, transfers are written only every TRANSFER_FLUSH_INTERVAL_S:
        each flush adds rows.
        """
        with self._passes:
            self._last_started_pass += 1
            number = self._last_started_pass
            flush_transfers, self._flush_requested = flush_transfers or self._flush_requested, False
        try:
            self._store.open(lambda: self._thread.stopping)
            self._spool.rotate()
            flush_due_at = self._transfers_flushed_at + TRANSFER_FLUSH_INTERVAL_S
            if flush_transfers or time.monotonic() > flush_due_at:
                self._flush_transfers()
            if self._load_closed(deadline):
                with self._passes:
                    self._last_complete_pass = number
                    self._passes.notify_all()
                # Not earlier: the spool may hold a duplicate of a batch that would be forgotten.
                if time.monotonic() - self._pruned_at > PRUNE_INTERVAL_S:
                    self._prune()
        except EventStoreUnavailable as error:
            self._fail(str(error), reopen=error.reopen)
            return False
        except (OSError, DatabaseError) as error:
            self._fail(str(error), reopen=False)
            return False
        if self.last_error is not None:
            _log.info("loading resumed")
            self.last_error = None
        return True

    def catch_up(self, timeout_s: float) -> bool:
        """Wait until all events that were acknowledged before the call are loaded.

        Returns whether they are. Returns False immediately while the event store is unavailable.
        """
        with self._passes:
            next_pass = self._last_started_pass + 1
            self._flush_requested = True
            self._thread.wake()
            self._passes.wait_for(
                lambda: self._last_complete_pass >= next_pass or self.last_error is not None,
                timeout_s,
            )
            return self._last_complete_pass >= next_pass

    def _load_periodically(self) -> float:
        """Load once. Return the delay until the next time."""
        return POLL_INTERVAL_S if self.run_once(flush_transfers=False) else RETRY_INTERVAL_S

    def _load_closed(self, deadline: float) -> bool:
        """Load the closed segments, oldest first. Return whether all were loaded."""
        for segment in self._spool.closed():
            if time.monotonic() > deadline or not self._are_observers_ready(segment):
                return False
            self._load(segment)
            self._dirty.update(self._observers)
        self._notify_loaded()
        return True

    def _load(self, segment: Path) -> None:
        try:
            result = self._store.load(segment, segment.name, self._on_duplicates)
        except InvalidSegment:
            result = self._load_valid_lines(segment)
        segment.unlink()
        self._metrics.add("hitrate_events_loaded", result.events)
        self._metrics.add("hitrate_events_deduplicated", result.duplicate_events)
        self._metrics.add_tasks(result.totals)

    def _load_valid_lines(self, segment: Path) -> LoadResult:
        """Quarantine the invalid lines of a segment, then load the others under its name."""
        lines, invalid = self._quarantine.extract_invalid_lines(segment, self._store.check)
        self._metrics.add("hitrate_quarantined_batches", invalid)
        with segment_file(lines) as path:
            return self._store.load(path, segment.name, self._on_duplicates)

    def _flush_transfers(self) -> None:
        if self._transfers is not None:
            transfers = self._transfers.drain()
            try:
                self._store.add_transfers(transfers)
            except BaseException:
                self._transfers.restore(transfers)
                raise
            self._transfers_flushed_at = time.monotonic()
            if any(totals.uploads for totals in transfers.values()):
                self._dirty.update(self._observers)

    def _prune(self) -> None:
        waiting = {segment.name for segment in self._spool.closed()}
        # A removed segment whose name the store has forgotten must not reappear after a crash.
        sync_directory(self._spool.directory)
        self._store.prune(waiting, self._clock.now_ms(), self._event_ttl_s)
        self._pruned_at = time.monotonic()

    def _batches_after(self, position: SpoolPosition) -> Iterator[SpooledBatch]:
        for line_position, line in self._spool.lines_after(position):
            try:
                batch = wire.decode_batch(line)
            except ValueError:  # it will be quarantined
                continue
            yield SpooledBatch(batch.team, batch.received_at, len(batch.events), line_position)

    def _are_observers_ready(self, segment: Path) -> bool:
        """Return whether all observers have processed a segment, after a short wait if need be.

        Only while its file exists can `recover` process it after a crash. An observer that failed
        delays loading by OBSERVER_TIMEOUT_S at most.
        """
        if self._thread.stopping:
            return True
        state = segment.stat()
        end = segment.name, state.st_size
        if not self._is_ready(end):
            self._thread.pause(MIN_PAUSE_S)
        return self._is_ready(end) or time.time() - state.st_mtime > OBSERVER_TIMEOUT_S

    def _is_ready(self, position: SpoolPosition) -> bool:
        return all(observer.is_ready(position) for observer in self._observers)

    def _on_duplicates(self, batch: DuplicateBatch, segment: str) -> None:
        for observer in self._observers:
            observer.on_duplicates(batch, segment)

    def _notify_loaded(self) -> None:
        for observer in tuple(self._dirty):
            try:
                if observer.on_loaded():
                    self._dirty.remove(observer)
            except Exception:  # an observer must not delay loading
                _log.exception("observer failed; it is notified again")

    def _fail(self, reason: str, *, reopen: bool) -> None:
        self._metrics.add("hitrate_event_load_failures")
        if self.last_error is None:
            _log.error("event store unavailable; events accumulate in the spool", reason=reason)
        with self._passes:
            self.last_error = reason
            self._passes.notify_all()
        if reopen:
            self._close_store()

    def _close_store(self) -> None:
        try:
            self._store.close()
        except EventStoreUnavailable as error:
            _log.warning("closing the event store failed", reason=str(error))
