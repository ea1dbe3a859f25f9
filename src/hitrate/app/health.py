"""Liveness, readiness, metrics, and the server status that `hitrate doctor` prints."""

import os
from collections.abc import Callable

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from hitrate import __version__
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.models import Permission
from hitrate.config import Settings
from hitrate.events.loader import Loader
from hitrate.events.quarantine import Quarantine, QuarantinedBatch
from hitrate.events.spool import RESERVE_BYTES, Spool
from hitrate.http.litestar import run_in_thread
from hitrate.metrics import Metrics

MAX_QUARANTINED_BATCHES = 20
"""Number of quarantined batches that the operator status lists."""


class Alive(msgspec.Struct):
    """Response of a running process."""

    status: str = "alive"


class Ready(msgspec.Struct):
    """Whether events and artifacts can be stored now, and if not, why."""

    status: str
    problems: list[str]


class OperatorStatus(msgspec.Struct, rename="camel"):
    """Status of a running server for its operator.

    `spool_oldest_s` is the age of the oldest segment in seconds. `load_error` is why loading has
    stopped, or None. `quarantined` lists at most MAX_QUARANTINED_BATCHES of the
    `quarantined_batches`.
    """

    version: str
    problems: list[str]
    spool_segments: int
    spool_bytes: int
    spool_oldest_s: float
    load_error: str | None
    quarantined_batches: int
    quarantined: list[QuarantinedBatch]
    free_bytes: int
    artifacts: int
    artifact_bytes: int


class Health:
    """Reads the state of all components."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        quarantine: Quarantine,
        loader: Loader,
        store: ArtifactStore,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._quarantine = quarantine
        self._loader = loader
        self._store = store

    def problems(self) -> list[str]:
        """List the reasons why events or artifacts cannot be stored now."""
        return disk_problems(self._settings, self._store.blobs.free_bytes())

    def status(self) -> OperatorStatus:
        """Return the status for the operator. Blocks: it reads the disk."""
        spool = self._spool.stats()
        quarantined = self._quarantine.batches()
        usage = self._store.usage()
        return OperatorStatus(
            version=__version__,
            problems=self.problems(),
            spool_segments=spool.segments,
            spool_bytes=spool.size_bytes,
            spool_oldest_s=spool.oldest_s,
            load_error=self._loader.last_error,
            quarantined_batches=len(quarantined),
            quarantined=quarantined[:MAX_QUARANTINED_BATCHES],
            free_bytes=self._store.blobs.free_bytes(),
            artifacts=usage.artifacts,
            artifact_bytes=usage.size_bytes,
        )

    def add_gauges(self, metrics: Metrics) -> None:
        """Register the gauges of spool, loader, artifacts and disk."""
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            (
                "hitrate_spool_segments",
                "Spool segments that wait to be loaded.",
                lambda: self._spool.stats().segments,
            ),
            (
                "hitrate_spool_bytes",
                "Bytes of spool segments that wait to be loaded.",
                lambda: self._spool.stats().size_bytes,
            ),
            (
                "hitrate_event_load_lag_seconds",
                "Age of the oldest event that waits to be loaded.",
                lambda: self._spool.stats().oldest_s,
            ),
            (
                "hitrate_event_store_up",
                "1 if the event store can be used, otherwise 0.",
                lambda: float(self._loader.last_error is None),
            ),
            ("hitrate_artifacts", "Artifacts stored.", lambda: self._store.usage().artifacts),
            (
                "hitrate_artifact_bytes",
                "Bytes of artifacts stored.",
                lambda: self._store.usage().size_bytes,
            ),
            (
                "hitrate_disk_free_bytes",
                "Free space on the disk of the data directory.",
                self._store.blobs.free_bytes,
            ),
        )
        for name, help_text, read in gauges:
            metrics.add_gauge(name, help_text, read)


def disk_problems(settings: Settings, free_bytes: int) -> list[str]:
    """List the reasons why the disk of the data directory cannot take events or artifacts."""
    problems = []
    if os.statvfs(settings.data_dir).f_flag & os.ST_RDONLY:
        problems.append(f"The disk of {settings.data_dir} is read-only: mount it for writing.")
    if free_bytes < RESERVE_BYTES:
        problems.append(f"{free_bytes} bytes free: too few for events; free some disk space.")
    if free_bytes < settings.min_free_bytes:
        problems.append(
            f"{free_bytes} bytes free, less than --min-free-bytes {settings.min_free_bytes}: "
            "uploads are refused; free some disk space."
        )
    return problems


@get("/healthz", operation_id="healthz", tags=["server"], permission=Permission.PUBLIC)
async def healthz() -> Alive:
    """Liveness: the process responds."""
    return Alive()


@get("/readyz", operation_id="readyz", tags=["server"], permission=Permission.PUBLIC)
async def readyz(health: NamedDependency[Health]) -> Response[Ready]:
    """Readiness: events and artifacts can be stored now."""
    problems = health.problems()
    return Response(
        Ready("not ready" if problems else "ready", problems),
        status_code=503 if problems else 200,
    )


@get(
    "/metrics",
    operation_id="metrics",
    tags=["server"],
    permission=Permission.PUBLIC,
    media_type=MediaType.TEXT,
)
@run_in_thread
def metrics_text(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Metrics in the Prometheus text format."""
    return Response(metrics.render(), media_type="text/plain; version=1.0.0; charset=utf-8")


@get(
    "/v1/operator/status",
    operation_id="operatorStatus",
    tags=["operator"],
    permission=Permission.OPERATOR,
)
@run_in_thread
def operator_status(health: NamedDependency[Health]) -> OperatorStatus:
    """Status of the running server, as `hitrate doctor` prints it."""
    return health.status()


HANDLERS = (healthz, readyz, metrics_text, operator_status)
