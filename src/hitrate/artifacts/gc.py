"""Garbage collection: evicts artifacts, removes orphans and repairs the index, in the background.

One thread checks the size limits every 50 ms and looks for expired artifacts once a minute. After
each start it compares all files with the index.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from hitrate import log
from hitrate.artifacts.blobs import BlobFile
from hitrate.artifacts.eviction import (
    BATCH_SIZE,
    CacheLimits,
    EvictionBatch,
    EvictionPolicy,
    Reason,
)
from hitrate.artifacts.models import BlobRef
from hitrate.artifacts.store import ArtifactStore
from hitrate.background import PeriodicThread
from hitrate.clock import Clock
from hitrate.errors import ServiceUnavailable
from hitrate.metrics import Metrics

CHECK_INTERVAL_S = 0.05
REMOVE_REPLACED_INTERVAL_S = 1.0
WRITE_LAST_USED_INTERVAL_S = 30.0
EVICT_EXPIRED_INTERVAL_S = 60.0
ONCE = float("inf")

REPLACED_GRACE_NEAR_LIMIT_S = 0.1
"""How long a replaced body is kept when eviction has started. See `store.REPLACED_GRACE_S`."""

_log = log.get_logger("artifacts")


class Removed(msgspec.Struct, rename="camel"):
    """Number and size of the artifacts or files removed for one reason."""

    count: int = 0
    size_bytes: int = 0


class CollectionReport(msgspec.Struct, rename="camel"):
    """Removals of one garbage collection by reason; with `dry_run`, those that it would make.

    `orphanBody` counts files without an index row, `missingBody` index rows without a complete
    file. The other reasons count evicted artifacts.
    """

    dry_run: bool
    removed: dict[Reason, Removed]

    def add(self, reason: Reason, count: int, size_bytes: int) -> None:
        if count:
            removed = self.removed.setdefault(reason, Removed())
            removed.count += count
            removed.size_bytes += size_bytes


class ShuttingDown(Exception):
    """The server is stopping; the collection in progress is aborted."""


class _Job(NamedTuple):
    run: Callable[[], None]
    interval_s: float


class GarbageCollector:
    """Runs garbage collection on its own thread. All removals of artifacts go through the store."""

    def __init__(
        self,
        store: ArtifactStore,
        limits: CacheLimits,
        metrics: Metrics,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`loop` is the event loop that the store belongs to."""
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._loop = loop
        self._lock = threading.Lock()
        self._jobs = (
            _Job(self._enforce_limits, CHECK_INTERVAL_S),
            _Job(store.remove_replaced, REMOVE_REPLACED_INTERVAL_S),
            _Job(store.write_last_used, WRITE_LAST_USED_INTERVAL_S),
            _Job(self._evict_expired, EVICT_EXPIRED_INTERVAL_S),
            _Job(self._repair_after_start, ONCE),
        )
        self._due_at = [0.0] * len(self._jobs)
        self._thread = PeriodicThread("gc", self._run_due_jobs, CHECK_INTERVAL_S)

    def open(self) -> None:
        """Start the thread."""
        self._due_at = [0.0] * len(self._jobs)
        self._thread.open()

    def close(self) -> None:
        """Abort the collection in progress and stop the thread."""
        self._thread.close()

    def collect(self, *, dry_run: bool) -> CollectionReport:
        """Run a full collection now: expired artifacts, size limits, and the repair.

        Blocks for as long as it takes, so it must not run on the event loop.
        """
        report = CollectionReport(dry_run, {})
        policy = EvictionPolicy(self._store, self._limits, dry_run=dry_run)
        with self._lock:
            self._store.write_last_used()
            self._evict(policy.expired(self._clock.now_ms()), report)
            self._evict(policy.over_limits(exact=True), report)
            self._repair(report)
        return report

    def _run_due_jobs(self) -> None:
        for number, job in enumerate(self._jobs):
            if time.monotonic() >= self._due_at[number]:
                self._run_job(job)
                self._due_at[number] = time.monotonic() + job.interval_s

    def _run_job(self, job: _Job) -> None:
        try:
            with self._lock:
                job.run()
        except ShuttingDown:
            return
        except ServiceUnavailable as error:
            _log.warning("garbage collection is postponed", reason=str(error))
        except Exception:
            _log.exception("garbage collection failed")

    def _enforce_limits(self) -> None:
        policy = EvictionPolicy(self._store, self._limits)
        if policy.above_high_watermark():
            self._store.remove_replaced(REPLACED_GRACE_NEAR_LIMIT_S)
            self._store.write_last_used()
            self._evict(policy.over_limits(exact=False), CollectionReport(False, {}))

    def _evict_expired(self) -> None:
        policy = EvictionPolicy(self._store, self._limits)
        self._evict(policy.expired(self._clock.now_ms()), CollectionReport(False, {}))

    def _repair_after_start(self) -> None:
        report = CollectionReport(False, {})
        self._repair(report)
        if report.removed:
            _log.info("artifact index repaired", removed=msgspec.to_builtins(report.removed))

    def _evict(self, batches: Iterable[EvictionBatch], report: CollectionReport) -> None:
        for reason, batch in batches:
            removed = batch if report.dry_run else self._remove(batch)
            size_bytes = sum(ref.size_bytes for ref in removed)
            report.add(reason, len(removed), size_bytes)
            if not report.dry_run:
                self._metrics.add("hitrate_artifacts_evicted", len(removed))
                self._metrics.add("hitrate_artifacts_evicted_bytes", size_bytes)

    def _remove(self, refs: Sequence[BlobRef]) -> Sequence[BlobRef]:
        if self._thread.stopping:
            raise ShuttingDown
        return asyncio.run_coroutine_threadsafe(self._store.remove(refs), self._loop).result()

    def _repair(self, report: CollectionReport) -> None:
        """Remove files without an index row, and index rows without a complete file."""
        files: list[BlobFile] = []
        for file in self._store.blobs.scan():
            files.append(file)
            if len(files) == BATCH_SIZE:
                self._remove_orphans(files, report)
                files = []
        self._remove_orphans(files, report)
        exists = self._store.blobs.exists
        for refs in self._store.index.iter_batches():
            missing = [r for r in refs if not exists(r.key.team_id, r.blob, r.size_bytes)]
            removed = missing if report.dry_run or not missing else self._remove(missing)
            report.add("missingBody", len(removed), sum(r.size_bytes for r in removed))
        if not report.dry_run:
            self._store.blobs.remove_empty_directories()

    def _remove_orphans(self, files: Iterable[BlobFile], report: CollectionReport) -> None:
        if self._thread.stopping:
            raise ShuttingDown
        # In this order: a body that is no longer in flight already has its index row.
        settled = [f for f in files if not self._store.blobs.in_flight(f.blob)]
        orphans = self._store.index.find_orphans([f.blob for f in settled])
        for file in settled:
            if file.blob in orphans and not self._store.is_replaced(file.blob):
                if not report.dry_run:
                    file.path.unlink(missing_ok=True)
                report.add("orphanBody", 1, file.size_bytes)
