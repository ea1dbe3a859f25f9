"""How the server is doing: alive, ready to store, metrics, and the operator's view for `doctor`."""

import os
from collections.abc import Callable

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from hitrate import __version__
from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.models import Permission
from hitrate.config import Settings
from hitrate.events.loader import Loader
from hitrate.events.quarantine import Quarantine, QuarantinedBatch
from hitrate.events.spool import RESERVE_BYTES, Spool
from hitrate.http.litestar import run_in_thread
from hitrate.metrics import Metrics

_REJECTED_SHOWN = 20


class Alive(msgspec.Struct):
    """The process answers."""

    status: str = "alive"


class Ready(msgspec.Struct):
    """Whether events and artifacts can be stored now; if not, why."""

    status: str
    problems: list[str]


class OperatorStatus(msgspec.Struct, rename="camel"):
    """What `hitrate doctor` asks a running server."""

    version: str
    problems: list[str]
    spool_segments: int
    spool_bytes: int
    spool_oldest_s: float
    load_trouble: str | None
    rejected_batches: int
    rejected: list[QuarantinedBatch]
    free_bytes: int
    artifacts: int
    artifact_bytes: int


class Health:
    """Looks at the parts; changes nothing."""

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
        """Why nothing, or not everything, can be stored now."""
        return room_problems(self._settings, self._store.blobs)

    def status(self) -> OperatorStatus:
        """Everything for the operator."""
        spool = self._spool.stats()
        quarantined = self._quarantine.batches()
        usage = self._store.usage()
        return OperatorStatus(
            version=__version__,
            problems=self.problems(),
            spool_segments=spool.segments,
            spool_bytes=spool.size_bytes,
            spool_oldest_s=spool.oldest_s,
            load_trouble=self._loader.last_error,
            rejected_batches=len(quarantined),
            rejected=quarantined[:_REJECTED_SHOWN],
            free_bytes=self._store.blobs.free_bytes(),
            artifacts=usage.artifacts,
            artifact_bytes=usage.size_bytes,
        )

    def add_gauges(self, metrics: Metrics) -> None:
        """Have the metrics ask the parts."""
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            (
                "hitrate_spool_segments",
                "Segments that wait to be loaded.",
                lambda: self._spool.stats().segments,
            ),
            (
                "hitrate_spool_bytes",
                "Bytes that wait to be loaded.",
                lambda: self._spool.stats().size_bytes,
            ),
            (
                "hitrate_load_lag_seconds",
                "Age of the oldest segment that waits.",
                lambda: self._spool.stats().oldest_s,
            ),
            (
                "hitrate_store_away",
                "1 while the event store cannot be used.",
                lambda: float(self._loader.last_error is not None),
            ),
            ("hitrate_artifacts", "Artifacts kept.", lambda: self._store.usage().artifacts),
            ("hitrate_artifact_bytes", "Their bytes.", lambda: self._store.usage().size_bytes),
            ("hitrate_disk_free_bytes", "Room on the disk.", self._store.blobs.free_bytes),
        )
        for name, text, read in gauges:
            metrics.gauge(name, text, read)


def room_problems(settings: Settings, blobs: BlobStore) -> list[str]:
    """What keeps the data folder's disk from taking more."""
    problems = []
    if os.statvfs(settings.data_dir).f_flag & os.ST_RDONLY:
        problems.append(f"The disk of {settings.data_dir} is read-only: mount it for writing.")
    free_bytes = blobs.free_bytes()
    if free_bytes < RESERVE_BYTES:
        problems.append(f"{free_bytes} bytes free: too few for events; free some room.")
    if free_bytes < settings.min_free_bytes:
        problems.append(
            f"{free_bytes} bytes free, less than --min-free-bytes {settings.min_free_bytes}: "
            "uploads are refused; free some room."
        )
    return problems


@get("/healthz", operation_id="healthz", tags=["server"], permission=Permission.PUBLIC)
async def healthz() -> Alive:
    """Liveness: the process answers."""
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
    return Response(metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8")


@get(
    "/v1/operator/status",
    operation_id="operatorStatus",
    tags=["operator"],
    permission=Permission.OPERATOR,
)
@run_in_thread
def operator_status(health: NamedDependency[Health]) -> OperatorStatus:
    """The state of a running server, as `hitrate doctor` shows it."""
    return health.status()


HANDLERS = (healthz, readyz, metrics_text, operator_status)
