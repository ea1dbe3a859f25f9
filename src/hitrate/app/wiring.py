"""The composition root: every part made, opened in order, closed in reverse; and the routes.

The only place that names adapters. One process serves one data folder.
"""

import asyncio
import gc
import signal
from pathlib import Path
from typing import cast

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.server.embed import Server as Granian

from hitrate import log
from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.export.datasets import Tables
from hitrate.analytics.export.jobs import ExportManager
from hitrate.analytics.export.routes import export_api
from hitrate.analytics.params import AnalyticsService
from hitrate.analytics.reports import Reports
from hitrate.analytics.routes import analytics_api
from hitrate.app.health import Health, health_api
from hitrate.app.openapi import openapi_api
from hitrate.app.router import AnyRoute, PublicRoute, Route, Router
from hitrate.artifacts.admin_routes import artifact_api
from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.catalog import ArtifactCatalog
from hitrate.artifacts.eviction import Limits
from hitrate.artifacts.gc import GarbageCollector
from hitrate.artifacts.index import ArtifactIndex
from hitrate.artifacts.routes import ArtifactRoutes
from hitrate.artifacts.store import ArtifactStore
from hitrate.attribution import ArtifactAttribution
from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import RequirePermission
from hitrate.auth.models import Permission
from hitrate.billing.admission import Admission
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage_cycles import Ledger
from hitrate.billing.worker import BillingWorker
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.db.engine import open_database
from hitrate.events.loader import Loader
from hitrate.events.routes import EventRoutes, event_api
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.events.traffic import TransferCounter
from hitrate.http.asgi import ASGIApp
from hitrate.http.litestar import create_litestar_app
from hitrate.management.routes import account_api
from hitrate.management.services import AccountServices
from hitrate.metrics import Metrics
from hitrate.pages.login_routes import login_api, make_desk
from hitrate.pages.routes import dashboard_api

SPOOL_FOLDER = "spool"
ARTIFACT_FOLDER = "artifacts"
EXPORT_FOLDER = "exports"
DRAIN_S = 5
"""How long requests that are in flight at the end may take; what they leave undone is undone."""

_LINE_ROOM = 4
"""A line of the spool is at most this many times the body it came from."""

_log = log.get("server")


def spool_folder(data_dir: Path) -> Path:
    """Where events wait."""
    return data_dir / SPOOL_FOLDER


def event_store(settings: Settings, index: ArtifactIndex | None = None) -> DuckDBEventStore:
    """The event store of the settings, not opened. One that loads wants to know the artifacts."""
    longest_line = _LINE_ROOM * settings.max_body_bytes + 64 * 1024
    durations = None if index is None else index.durations
    return DuckDBEventStore(settings.data_dir, longest_line, durations)


def hot_routes(events: EventRoutes, artifacts: ArtifactRoutes) -> list[AnyRoute]:
    """The operations of the contract: method, path, operation, who may call it, handler."""
    base = "/v8/artifacts"
    one = f"{base}/{{hash}}"
    preflights = [
        PublicRoute("OPTIONS", path, "preflight", artifacts.preflight)
        for path in (f"{base}/events", f"{base}/status", base, one)
    ]
    return [
        Route("POST", f"{base}/events", "recordEvents", Permission.EVENTS, events.record),
        Route("GET", f"{base}/status", "status", Permission.STATUS, artifacts.status),
        Route("GET", one, "downloadArtifact", Permission.READ, artifacts.download),
        Route("HEAD", one, "artifactExists", Permission.READ, artifacts.exists),
        Route("PUT", one, "uploadArtifact", Permission.WRITE, artifacts.upload),
        Route("POST", base, "artifactQuery", Permission.READ, artifacts.query),
        Route("DELETE", base, "deleteAllArtifacts", Permission.WRITE, artifacts.delete_all),
        *preflights,
    ]


class App:
    """All parts of one server, on one data folder that the caller holds."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or Clock()

    def open(self) -> Router:
        """Open everything; the app that serves it. Call on the running event loop."""
        settings, clock = self._settings, self._clock
        self._engine = open_database(settings.data_dir)
        metrics = Metrics()
        folder = spool_folder(settings.data_dir)
        self._spool = Spool(folder, clock)
        blobs = BlobStore(settings.data_dir / ARTIFACT_FOLDER, settings.min_free_bytes)
        self._artifacts = ArtifactStore(self._engine, blobs, clock)
        store = event_store(settings, self._artifacts.index)
        transfers, listing = TransferCounter(clock), ArtifactCatalog(self._engine)
        limits = Limits(
            settings.artifact_ttl_s, settings.max_cache_bytes, settings.max_team_cache_bytes
        )
        self._retention = GarbageCollector(
            self._artifacts, limits, metrics, clock, asyncio.get_running_loop()
        )
        office = self._open_office()
        self._loader = Loader(
            self._spool,
            folder,
            store,
            metrics,
            clock,
            settings.event_ttl_s,
            office.meter,
            transfers,
            ArtifactAttribution(store, listing, clock).look,
        )
        gate = office.gate
        health = Health(settings, self._spool, folder, self._loader, self._artifacts)
        health.add_gauges(metrics)
        routes = hot_routes(
            EventRoutes(self._spool, metrics, clock, settings.max_body_bytes),
            ArtifactRoutes(
                self._artifacts,
                office.standing,
                metrics,
                clock,
                max_artifact_bytes=_largest_artifact(settings),
                max_body_bytes=settings.max_body_bytes,
                transfers=transfers,
            ),
        )
        reports = Reports(store, self._artifacts, office.accounts.tokens)
        analyst = AnalyticsService(
            reports,
            ArtifactReports(reports, listing),
            self._loader,
            clock,
            RequirePermission(gate, Permission.ANALYTICS),
        )
        desk = make_desk(self._engine, office.accounts, gate, metrics, settings, clock)
        self._exports = ExportManager(
            store, settings.data_dir / EXPORT_FOLDER, settings.min_free_bytes
        )
        operates = RequirePermission(gate, Permission.OPERATOR)
        handlers = [
            *event_api(store, clock, RequirePermission(gate, Permission.ANALYTICS)),
            *analytics_api(analyst),
            *export_api(analyst, self._exports, Tables(reports, listing)),
            *account_api(office),
            *login_api(desk),
            *dashboard_api(desk, office, reports, analyst.cache),
            *artifact_api(
                self._artifacts,
                self._retention,
                RequirePermission(gate, Permission.SETTINGS),
                operates,
            ),
            *health_api(health, metrics, operates),
        ]
        framework = create_litestar_app([*handlers, *openapi_api(handlers)])
        self._spool.open()
        self._artifacts.open()
        office.meter.open()
        self._loader.open()
        self._exports.open()
        self._retention.open()
        self._bookkeeper.open()
        admission = Admission(gate, office.standing, office.meter, clock)
        return Router(routes, admission, metrics, cast("ASGIApp", framework))

    def _open_office(self) -> AccountServices:
        accounts = AccountStore(self._engine, self._clock)
        ledger = Ledger(self._engine)
        meter = Meter(
            self._settings.data_dir,
            lambda team_id: self._artifacts.usage(team_id).size_bytes,
            self._clock,
        )
        gate = Authorizer(accounts, self._clock)
        self._bookkeeper = BillingWorker(accounts, ledger, meter, gate, self._clock)
        return AccountServices(
            accounts, gate, ledger, meter, QuotaEnforcer(meter, self._clock), self._clock
        )

    async def close(self) -> None:
        """Drain and close everything, the last opened first; one that fails stops no other."""
        for part in (
            self._exports,
            self._retention,
            self._artifacts,
            self._spool,
            self._loader,
            self._bookkeeper,
        ):
            try:
                await asyncio.to_thread(part.close)
            except Exception:
                _log.exception("closing failed", part=type(part).__name__)
        self._engine.dispose()


def _largest_artifact(settings: Settings) -> int:
    caps = (settings.max_artifact_bytes, settings.max_cache_bytes, settings.max_team_cache_bytes)
    return min(cap for cap in caps if cap is not None)


def make_http_server(app: Router, settings: Settings) -> Granian:
    """The HTTP server on the app; it runs on the caller's event loop."""
    return Granian(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        log_enabled=False,
        ssl_cert=settings.tls_cert,
        ssl_key=settings.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


def _calm_the_collector() -> None:
    """Requests leave no cycles, so looking for them often is wasted: it took 5% of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is in flight, drain, return."""
    server = App(settings)
    app = server.open()
    http = make_http_server(app, settings)
    http.workers_kill_timeout = DRAIN_S
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, http.stop)
    _calm_the_collector()
    _log.info("serving", host=settings.host, port=settings.port, data=str(settings.data_dir))
    try:
        await http.serve()
    except TimeoutError:
        _log.warning("requests were still in flight when the server stopped")
    finally:
        await server.close()
        gc.unfreeze()
        _log.info("stopped")
