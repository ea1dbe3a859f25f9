"""The loader: moves closed segments into the event store, behind the clients' backs.

Twice a second it closes the open segment, hands each closed one to the store and then removes
the file. If the store is away, segments gather and loading goes on when it is back. A batch that
can never be loaded is set aside with its reason, and the rest flows on.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hitrate import log
from hitrate.billing.meter import Meter
from hitrate.clock import Clock
from hitrate.errors import DatabaseError, EventStoreUnavailable, InvalidSegment
from hitrate.events import wire
from hitrate.events.models import LoadResult, rejected_folder
from hitrate.events.spool import Spool, sync_folder
from hitrate.events.store import DuckDBEventStore
from hitrate.events.traffic import TransferCounter
from hitrate.metrics import Metrics

INTERVAL_S = 0.5
TIDY_EVERY_S = 60.0
NICENESS = 10
A_TURN_S = 0.02
COUNTED_WITHIN_S = 3.0
TRANSFERS_EVERY_S = 2.0

_log = log.get_logger("events")


class Loader:
    """Owns the loading thread. Only it opens the store, so a store that is away delays nobody."""

    def __init__(
        self,
        spool: Spool,
        spool_folder: Path,
        store: DuckDBEventStore,
        metrics: Metrics,
        clock: Clock,
        event_ttl_s: float | None = None,
        meter: Meter | None = None,
        transfers: TransferCounter | None = None,
        on_loaded: Callable[[], bool] | None = None,
    ) -> None:
        """`meter` has counted each event when it was acknowledged; it hears of those that had come
        before, and of those that a crash kept from being counted. `transfers` are written down
        now and then; `on_loaded` is called when something was loaded or uploaded, and again until
        it says that it has looked."""
        self._transfers = transfers
        self._on_loaded = on_loaded
        self._news = True  # a crash may have come before the last look
        self._meter = meter
        self._on_dropped = None if meter is None else meter.take_back_events
        self._spool = spool
        self._rejected = rejected_folder(spool_folder)
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._event_ttl_s = event_ttl_s
        self._stop = threading.Event()
        self._steps = threading.Condition()
        self._begun = self._caught_up = 0
        self._hurried = False
        self._transfers_at = float("-inf")
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._tidied_at = time.monotonic()
        self.trouble: str | None = None
        """Why loading stands still, or None."""

    def open(self) -> None:
        """Start loading."""
        if self._thread is None:
            self._count_what_a_crash_left()
            self._stop.clear()
            self._wake.clear()
            self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
            self._thread.start()

    def close(self, patience_s: float = 4.0) -> None:
        """Load what waits, as far as `patience_s` allows (the rest stays in the spool); end."""
        if self._thread is None:
            return
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._thread = None
        try:
            self.step(time.monotonic() + patience_s)
        finally:
            self._close_store()

    def step(self, until: float = float("inf"), *, hurried: bool = True) -> bool:
        """Load all that waits (until that moment of the monotonic clock); whether it went well.
        Unless `hurried`, transfers wait until they are many: each time adds rows."""
        with self._steps:
            self._begun += 1
            step = self._begun
            hurried, self._hurried = hurried or self._hurried, False
        try:
            self._store.open(self._stop.is_set)
            self._spool.rotate()
            if hurried or time.monotonic() - self._transfers_at > TRANSFERS_EVERY_S:
                self._write_transfers()
            if self._load_closed(until):
                with self._steps:
                    self._caught_up = step
                    self._steps.notify_all()
                # Not before: what waits may be a copy of what would be forgotten.
                if time.monotonic() - self._tidied_at > TIDY_EVERY_S:
                    self._tidy()
        except EventStoreUnavailable as error:
            self._fail(str(error), reopen=error.reopen)
            return False
        except (OSError, DatabaseError) as error:
            self._fail(str(error), reopen=False)
            return False
        if self.trouble is not None:
            _log.info("loading goes on")
            self.trouble = None
        return True

    def catch_up(self, patience_s: float) -> bool:
        """Wait until all events that were acknowledged before the call are loaded; whether they
        are. Does not wait for a store that is away."""
        with self._steps:
            wanted = self._begun + 1
            self._hurried = True
            self._wake.set()
            self._steps.wait_for(
                lambda: self._caught_up >= wanted or self.trouble is not None, patience_s
            )
            return self._caught_up >= wanted

    def _run(self) -> None:
        # Behind the requests: on a busy machine events wait in the spool, not clients for cores.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        wait_s = 0.0
        while not self._stop.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            wait_s = INTERVAL_S
            try:
                if not self.step(hurried=False):
                    wait_s = 2 * INTERVAL_S
            except Exception:  # whatever it is, what waits must be tried again
                _log.exception("loading failed")
            self._stop.wait(A_TURN_S)  # whoever is in a hurry must not have it work all the time

    def _load_closed(self, until: float) -> bool:
        """Load the closed segments, oldest first; whether that was all of them."""
        closed = self._spool.closed()
        for segment in closed:
            if time.monotonic() > until or not self._counted(segment):
                return False
            self._load(segment)
            self._news = True
        self._tell_of_news()
        return True

    def _tell_of_news(self) -> None:
        """What follows from events must not hold them up."""
        if self._news and self._on_loaded is not None:
            try:
                self._news = not self._on_loaded()
            except Exception:
                _log.exception("what was loaded is looked at later")

    def _write_transfers(self) -> None:
        if self._transfers is not None:
            moved = self._transfers.take()
            try:
                self._store.add_transfers(moved)
            except BaseException:
                self._transfers.put_back(moved)
                raise
            self._transfers_at = time.monotonic()
            self._news |= any(amounts.uploads for amounts in moved.values())

    def _load(self, segment: Path) -> None:
        try:
            loaded = self._store.load(segment, segment.name, self._on_dropped)
        except InvalidSegment:
            loaded = self._load_sound_lines(segment)
        segment.unlink()
        self._metrics.add("hitrate_events_loaded", loaded.events)
        self._metrics.add("hitrate_events_deduplicated", loaded.duplicates)
        self._metrics.add_tasks(loaded.totals)

    def _counted(self, segment: Path) -> bool:
        """Whether the meter has counted all of a segment: only while it is there can a crash be
        made up for. A count that failed holds nothing up for long."""
        if self._meter is None or self._stop.is_set():
            return True
        state = segment.stat()
        end = segment.name, state.st_size
        if self._meter.spooled < end:
            self._stop.wait(A_TURN_S)
        return self._meter.spooled >= end or time.time() - state.st_mtime > COUNTED_WITHIN_S

    def _count_what_a_crash_left(self) -> None:
        """Count the lines that are on disk and behind the last that was counted."""
        if self._meter is not None:
            for position, line in self._spool.lines_after(self._meter.spooled):
                try:
                    batch = wire.decode_batch(line)
                except ValueError:  # it will be set aside
                    continue
                self._meter.count_late(batch.team, batch.received_at, len(batch.events), position)

    def _load_sound_lines(self, segment: Path) -> LoadResult:
        """Set the lines aside that cannot be read, then load the others under the same name."""
        lines = segment.read_bytes().splitlines(keepends=True)
        reasons = self._find_unsound(lines, 0)
        self._rejected.mkdir(exist_ok=True)
        for number, reason in reasons.items():
            stem = f"{segment.stem}-{number}"
            (self._rejected / f"{stem}.ndjson").write_bytes(lines[number])
            (self._rejected / f"{stem}.reason.txt").write_text(reason + "\n", encoding="utf-8")
            _log.error("batch set aside", batch=stem, reason=reason)
        os.sync()
        sync_folder(self._rejected)
        self._metrics.add("hitrate_rejected_batches", len(reasons))
        sound = [line for number, line in enumerate(lines) if number not in reasons]
        with _as_file(sound) as path:
            return self._store.load(path, segment.name, self._on_dropped)

    def _find_unsound(self, lines: list[bytes], first: int) -> dict[int, str]:
        """Line number -> reason, found by halving."""
        with _as_file(lines) as path:
            reason = self._store.check(path)
        if reason is None:
            return {}
        if len(lines) == 1:
            return {first: reason}
        middle = len(lines) // 2
        return self._find_unsound(lines[:middle], first) | self._find_unsound(
            lines[middle:], first + middle
        )

    def _tidy(self) -> None:
        waiting = {segment.name for segment in self._spool.closed()}
        sync_folder(self._rejected.parent)  # a removed segment must not come back unknown
        self._store.tidy(waiting, self._clock.now_ms(), self._event_ttl_s)
        self._tidied_at = time.monotonic()

    def _fail(self, reason: str, *, reopen: bool) -> None:
        self._metrics.add("hitrate_load_failures")
        if self.trouble is None:
            _log.error("event store is away; events gather in the spool", reason=reason)
        with self._steps:
            self.trouble = reason
            self._steps.notify_all()
        if reopen:
            self._close_store()

    def _close_store(self) -> None:
        try:
            self._store.close()
        except EventStoreUnavailable as error:
            _log.warning("event store did not close", reason=str(error))


class _as_file:  # noqa: N801  # reason: used like a function
    """The lines as a file that DuckDB can read, for the length of a `with`."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def __enter__(self) -> Path:
        fd, name = tempfile.mkstemp(suffix=".ndjson")
        with os.fdopen(fd, "wb") as file:
            file.writelines(self._lines)
        self._path = Path(name)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink()
