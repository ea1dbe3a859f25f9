"""Room on the disk, behind the requests' backs: collects what has to go, and repairs.

One thread. It looks every 50 ms whether a cap is near, once a minute for what is unused, and at
each start scans until files and index agree.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from hitrate import log
from hitrate.artifacts.blobs import BlobFile
from hitrate.artifacts.eviction import SOME, EvictionPolicy, Limits, Reason, Some
from hitrate.artifacts.index import Stored
from hitrate.artifacts.store import ArtifactStore
from hitrate.clock import Clock
from hitrate.errors import ServiceUnavailable
from hitrate.metrics import Metrics

LOOK_EVERY_S = 0.05
REPLACED_KEPT_AT_A_CAP_S = 0.1
REPLACED_EVERY_S = 1.0
LAST_USES_EVERY_S = 30.0
AGES_EVERY_S = 60.0
NEVER_AGAIN_S = float("inf")

_log = log.get_logger("artifacts")


class Removed(msgspec.Struct, rename="camel"):
    """What was removed, or would be, for one reason."""

    count: int = 0
    size_bytes: int = 0


class Report(msgspec.Struct, rename="camel"):
    """What a collection did, by reason. `orphan_file` is a file without a row, `missing_file` a
    row without its file; the others are artifacts."""

    dry_run: bool
    removed: dict[Reason, Removed]

    def note(self, reason: Reason, count: int, size_bytes: int) -> None:
        if count:
            cleaned = self.removed.setdefault(reason, Removed())
            cleaned.count += count
            cleaned.size_bytes += size_bytes


class ShuttingDown(Exception):
    """The server stops: whatever was begun is given up."""


class GarbageCollector:
    """Owns the collecting thread. Removals go through the store, like every change."""

    def __init__(
        self,
        store: ArtifactStore,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`loop` is where the store's changes are awaited."""
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._loop = loop
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start collecting."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def collect(self, *, dry_run: bool) -> Report:
        """Everything at once: ages, caps and the scan. Blocks; not for the event loop."""
        report = Report(dry_run, {})
        surplus = EvictionPolicy(self._store, self._limits, pretend=dry_run)
        with self._busy:
            self._store.write_last_uses()
            self._remove_all(surplus.unused(self._clock.now_ms()), report)
            self._remove_all(surplus.over_caps(exact=True), report)
            self._repair(report)
        return report

    def _run(self) -> None:
        jobs: tuple[tuple[Callable[[], None], float], ...] = (
            (self._keep_caps, LOOK_EVERY_S),
            (self._store.remove_replaced, REPLACED_EVERY_S),
            (self._store.write_last_uses, LAST_USES_EVERY_S),
            (self._remove_unused, AGES_EVERY_S),
            (self._repair_once, NEVER_AGAIN_S),
        )
        due = [0.0] * len(jobs)
        while not self._stop.wait(LOOK_EVERY_S):
            for number, (job, every_s) in enumerate(jobs):
                if time.monotonic() >= due[number]:
                    self._do(job)
                    due[number] = time.monotonic() + every_s

    def _do(self, job: Callable[[], None]) -> None:
        try:
            with self._busy:
                job()
        except ShuttingDown:
            return
        except ServiceUnavailable as error:
            _log.warning("collecting is put off", reason=str(error))
        except Exception:
            _log.exception("collecting failed")

    def _keep_caps(self) -> None:
        surplus = EvictionPolicy(self._store, self._limits)
        if surplus.near_a_cap():
            self._store.remove_replaced(REPLACED_KEPT_AT_A_CAP_S)
            self._store.write_last_uses()
            self._remove_all(surplus.over_caps(exact=False), Report(False, {}))

    def _remove_unused(self) -> None:
        unused = EvictionPolicy(self._store, self._limits).unused(self._clock.now_ms())
        self._remove_all(unused, Report(False, {}))

    def _repair_once(self) -> None:
        report = Report(False, {})
        self._repair(report)
        if report.removed:
            _log.info("files and index agree again", removed=msgspec.to_builtins(report.removed))

    def _remove_all(self, surplus: Iterable[Some], report: Report) -> None:
        for reason, some in surplus:
            removed = some if report.dry_run else self._remove(some)
            report.note(reason, len(removed), sum(s.size_bytes for s in removed))
            if not report.dry_run:
                self._metrics.add("hitrate_artifact_evicted", len(removed))
                self._metrics.add(
                    "hitrate_artifact_evicted_bytes", sum(s.size_bytes for s in removed)
                )

    def _remove(self, stored: Sequence[Stored]) -> Sequence[Stored]:
        if self._stop.is_set():
            raise ShuttingDown
        return asyncio.run_coroutine_threadsafe(self._store.remove(stored), self._loop).result()

    def _repair(self, report: Report) -> None:
        """Make files and index agree, either way."""
        files: list[BlobFile] = []
        for file in self._store.blobs.scan():
            files.append(file)
            if len(files) == SOME:
                self._remove_orphans(files, report)
                files = []
        self._remove_orphans(files, report)
        has = self._store.blobs.has
        for rows in self._store.index.walk():
            missing = [s for s in rows if not has(s.key.team_id, s.blob, s.size_bytes)]
            removed = missing if report.dry_run or not missing else self._remove(missing)
            report.note("missing_file", len(removed), sum(s.size_bytes for s in removed))
        if not report.dry_run:
            self._store.blobs.remove_empty_folders()

    def _remove_orphans(self, files: Iterable[BlobFile], report: Report) -> None:
        if self._stop.is_set():
            raise ShuttingDown
        # In this order: a file that is no longer in flight has its row already.
        settled = [f for f in files if not self._store.blobs.in_flight(f.blob)]
        unnamed = self._store.index.unnamed([f.blob for f in settled])
        for file in settled:
            if file.blob in unnamed and not self._store.is_replaced(file.blob):
                if not report.dry_run:
                    file.path.unlink(missing_ok=True)
                report.note("orphan_file", 1, file.size_bytes)
