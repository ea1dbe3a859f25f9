"""Room on the disk: what is unused for long or least recently used goes first.

One thread, behind the requests' backs. It wakes twice a second to see whether a cap is near,
once a minute for what is unused, and at each start for a scan that makes files and index agree.
A cap is kept by starting a little below it: uploads that arrive meanwhile find room.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from hitrate import logs
from hitrate.artifacts.index import Stored
from hitrate.artifacts.local import BlobFile
from hitrate.artifacts.store import ArtifactStore
from hitrate.clock import Clock
from hitrate.errors import Unavailable
from hitrate.metrics import Metrics

LOOK_EVERY_S = 0.05
LAST_USES_EVERY_S = 30.0
AGES_EVERY_S = 60.0
_SLACK_PARTS = 20
_SLACK_MOST_BYTES = 2**30
_SOME = 200

Reason = Literal["unused", "over_cap", "team_over_cap", "orphan_file", "missing_file"]

_log = logs.get("artifacts")


class Cleaned(msgspec.Struct, rename="camel"):
    """What one reason removed, or would remove."""

    count: int = 0
    size_bytes: int = 0


class Report(msgspec.Struct, rename="camel"):
    """What a collection did: `unused`, `over_cap`, `team_over_cap` are artifacts; `orphan_file` a
    file without a row, `missing_file` a row without its file."""

    dry_run: bool
    removed: dict[Reason, Cleaned]


class Limits(msgspec.Struct, frozen=True):
    """None is no limit."""

    ttl_s: float | None
    cache_bytes: int | None
    team_cache_bytes: int | None


class _Cap:
    """A cap, where collecting starts and where it stops: below the cap by one and two slacks."""

    def __init__(self, cap_bytes: int) -> None:
        slack = min(cap_bytes // _SLACK_PARTS, _SLACK_MOST_BYTES)
        self.start_bytes = cap_bytes - slack
        self.stop_bytes = cap_bytes - 2 * slack


class Retention:
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
        with self._busy:
            self._store.write_last_uses()
            for reason, some in self._surplus(dry_run=dry_run, exact=True):
                removed = some if dry_run else self._remove(some)
                _note(report, reason, len(removed), sum(s.size_bytes for s in removed))
            self._scan(report)
        return report

    def _run(self) -> None:
        jobs: list[tuple[Callable[[], Any], float, float]] = [
            (self._keep_caps, LOOK_EVERY_S, 0.0),
            (self._store.remove_replaced, 1.0, 0.0),
            (self._store.write_last_uses, LAST_USES_EVERY_S, LAST_USES_EVERY_S),
            (self._remove_unused, AGES_EVERY_S, 0.0),
            (self._scan_once, float("inf"), 0.0),
        ]
        due = [time.monotonic() + first for _, _, first in jobs]
        while not self._stop.wait(LOOK_EVERY_S):
            for number, (job, every_s, _) in enumerate(jobs):
                if time.monotonic() >= due[number]:
                    self._do(job)
                    due[number] = time.monotonic() + every_s

    def _do(self, job: Callable[[], Any]) -> None:
        try:
            with self._busy:
                job()
        except Unavailable as error:
            _log.warning("collecting is put off", reason=str(error))
        except Exception:
            _log.exception("collecting failed")

    def _keep_caps(self) -> None:
        if not self._near_a_cap():
            return
        self._store.write_last_uses()
        for _, some in self._over_caps(dry_run=False, exact=False):
            self._remove(some)

    def _remove_unused(self) -> None:
        for some in self._unused(dry_run=False):
            self._remove(some)

    def _scan_once(self) -> None:
        report = Report(False, {})
        self._scan(report)
        if report.removed:
            _log.info("files and index agree again", removed=msgspec.to_builtins(report.removed))

    def _near_a_cap(self) -> bool:
        whole, team = self._limits.cache_bytes, self._limits.team_cache_bytes
        used = self._store.usage
        if whole is not None and used().size_bytes > _Cap(whole).start_bytes:
            return True
        return team is not None and any(
            used(team_id).size_bytes > _Cap(team).start_bytes for team_id in self._store.teams()
        )

    def _surplus(self, *, dry_run: bool, exact: bool) -> Iterator[tuple[Reason, list[Stored]]]:
        for some in self._unused(dry_run=dry_run):
            yield "unused", some
        yield from self._over_caps(dry_run=dry_run, exact=exact)

    def _unused(self, *, dry_run: bool) -> Iterator[list[Stored]]:
        if self._limits.ttl_s is None:
            return
        before_ms = self._clock.now_ms() - int(self._limits.ttl_s * 1000)
        if dry_run:
            yield self._store.index.least_recent(before_ms=before_ms, limit=-1)
            return
        while some := self._store.index.least_recent(before_ms=before_ms, limit=_SOME):
            yield some
            if self._stop.is_set():
                return

    def _over_caps(self, *, dry_run: bool, exact: bool) -> Iterator[tuple[Reason, list[Stored]]]:
        team_cap, whole_cap = self._limits.team_cache_bytes, self._limits.cache_bytes
        if team_cap is not None:
            for team_id in self._store.teams():
                for some in self._over_cap(team_cap, team_id, dry_run=dry_run, exact=exact):
                    yield "team_over_cap", some
        if whole_cap is not None:
            for some in self._over_cap(whole_cap, None, dry_run=dry_run, exact=exact):
                yield "over_cap", some

    def _over_cap(
        self, cap_bytes: int, team_id: str | None, *, dry_run: bool, exact: bool
    ) -> Iterator[list[Stored]]:
        cap = _Cap(cap_bytes)
        start, stop = (cap_bytes, cap_bytes) if exact else (cap.start_bytes, cap.stop_bytes)
        surplus = self._store.usage(team_id).size_bytes
        if surplus <= start:
            return
        surplus -= stop
        while surplus > 0 and not self._stop.is_set():
            limit = -1 if dry_run else _SOME
            oldest = self._store.index.least_recent(team_id=team_id, limit=limit)
            if not oldest:
                return
            some = _first_bytes(oldest, surplus)
            yield some
            if dry_run:
                return
            surplus = self._store.usage(team_id).size_bytes - stop

    def _remove(self, stored: Sequence[Stored]) -> list[Stored]:
        removing = asyncio.run_coroutine_threadsafe(self._store.remove(stored), self._loop)
        removed = removing.result()
        self._metrics.add("hitrate_artifact_evicted", len(removed))
        self._metrics.add("hitrate_artifact_evicted_bytes", sum(s.size_bytes for s in removed))
        return removed

    def _scan(self, report: Report) -> None:
        """Make files and index agree, either way."""
        files: list[BlobFile] = []
        for file in self._store.blobs.scan():
            files.append(file)
            if len(files) == _SOME:
                self._remove_orphans(files, report)
                files = []
            if self._stop.is_set():
                return
        self._remove_orphans(files, report)
        for rows in self._store.index.walk():
            missing = [
                s for s in rows if not self._store.blobs.has(s.key.team_id, s.blob, s.size_bytes)
            ]
            removed = missing if report.dry_run or not missing else self._remove(missing)
            _note(report, "missing_file", len(removed), sum(s.size_bytes for s in removed))
            if self._stop.is_set():
                return

    def _remove_orphans(self, files: Iterable[BlobFile], report: Report) -> None:
        # In this order: a file that is in flight no longer has its row already.
        settled = [f for f in files if not self._store.blobs.in_flight(f.blob)]
        unnamed = self._store.index.unnamed([f.blob for f in settled])
        for file in settled:
            if file.blob in unnamed and not self._store.is_replaced(file.blob):
                if not report.dry_run:
                    self._store.blobs.remove(file.team_id, file.blob)
                _note(report, "orphan_file", 1, file.size_bytes)


def _first_bytes(oldest: Sequence[Stored], size_bytes: int) -> list[Stored]:
    some: list[Stored] = []
    for stored in oldest:
        if size_bytes <= 0:
            break
        some.append(stored)
        size_bytes -= stored.size_bytes
    return some


def _note(report: Report, reason: Reason, count: int, size_bytes: int) -> None:
    if count:
        cleaned = report.removed.setdefault(reason, Cleaned())
        cleaned.count += count
        cleaned.size_bytes += size_bytes
