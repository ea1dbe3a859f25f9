"""Composition root: creates every component, starts and stops them, and lists all routes.

The only module that names concrete implementations. One process serves one data directory.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Protocol, cast

from hitrate import log
from hitrate.analytics import routes as analytics_routes
from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.export import routes as export_routes
from hitrate.analytics.export.datasets import DatasetFactory
from hitrate.analytics.export.jobs import ExportManager
from hitrate.analytics.reports import Reports
from hitrate.app import health, openapi
from hitrate.app.health import Health
from hitrate.app.openapi import OpenApiDocument
from hitrate.app.router import Router
from hitrate.artifacts import admin_routes
from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.catalog import ArtifactCatalog
from hitrate.artifacts.eviction import CacheLimits
from hitrate.artifacts.gc import GarbageCollector
from hitrate.artifacts.routes import ArtifactRoutes
from hitrate.artifacts.store import ArtifactStore
from hitrate.attribution import ArtifactAttribution
from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import PermissionGuard, SessionAuthenticator
from hitrate.auth.password_login import PasswordAuthenticator
from hitrate.auth.sessions import OneTimeStore, Sessions
from hitrate.auth.sso import create_single_sign_on
from hitrate.auth.turbo_login import TurboLogin
from hitrate.billing.admission import Admission
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage_cycles import UsageCycleStore
from hitrate.billing.worker import BillingWorker
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.db.engine import open_database
from hitrate.event_metering import EventMeteringObserver
from hitrate.events import routes as events
from hitrate.events.loader import Loader
from hitrate.events.quarantine import Quarantine
from hitrate.events.routes import EventRoutes
from hitrate.events.spool import Spool
from hitrate.events.store import create_event_store
from hitrate.events.traffic import TransferCounter
from hitrate.http.asgi import ASGIApp
from hitrate.http.cookies import SecureCookies
from hitrate.http.csrf import CsrfProtection
from hitrate.http.litestar import create_litestar_app, provide
from hitrate.http.redirects import PublicUrl
from hitrate.management import routes as management_routes
from hitrate.metrics import Metrics
from hitrate.pages import routes as pages
from hitrate.pages.account import AccountPage
from hitrate.pages.context import TeamPages
from hitrate.pages.settings import SettingsPage

_log = log.get_logger("app")


class Component(Protocol):
    """A component that owns threads or files. `open` and `close` may each be called twice."""

    def open(self) -> None: ...
    def close(self) -> None: ...


class App:
    """All components of one server, on one data directory that the caller has locked."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or Clock()
        self._stack = AsyncExitStack()

    async def startup(self) -> Router:
        """Open every component and return the ASGI app that serves them.

        Call on the running event loop. If a component cannot be opened, those that were opened
        are closed again and the error is raised.
        """
        async with AsyncExitStack() as stack:
            router = self._start(stack)
            self._stack = stack.pop_all()
        return router

    async def shutdown(self) -> None:
        """Finish pending work and close every component; one that fails stops no other."""
        await self._stack.aclose()

    def _start(self, stack: AsyncExitStack) -> Router:
        settings, clock = self._settings, self._clock
        data_dir = DataDir(settings.data_dir)
        engine = open_database(settings.data_dir)
        stack.callback(engine.dispose)
        metrics = Metrics()
        accounts = AccountStore(engine, clock)
        usage_cycles = UsageCycleStore(engine)
        authorizer = Authorizer(accounts, clock)
        spool = Spool(data_dir.spool, clock)
        blobs = BlobStore(data_dir.artifacts, settings.min_free_bytes)
        artifacts = ArtifactStore(engine, blobs, clock)
        catalog = ArtifactCatalog(engine)
        meter = Meter(settings.data_dir, lambda team_id: artifacts.usage(team_id).size_bytes, clock)
        quotas = QuotaEnforcer(meter, clock)
        worker = BillingWorker(accounts, usage_cycles, meter, authorizer, clock)
        store = create_event_store(settings, artifacts.index.durations)
        traffic = TransferCounter(clock)
        quarantine = Quarantine(data_dir.quarantine)
        loader = Loader(
            spool,
            store,
            quarantine,
            metrics,
            clock,
            event_ttl_s=settings.event_ttl_s,
            traffic=traffic,
            observers=(EventMeteringObserver(meter), ArtifactAttribution(store, catalog, clock)),
        )
        limits = CacheLimits.from_settings(settings)
        garbage_collector = GarbageCollector(
            artifacts, limits, metrics, clock, asyncio.get_running_loop()
        )
        exports = ExportManager(store, data_dir.exports, settings.min_free_bytes)
        server_health = Health(settings, spool, quarantine, loader, artifacts)
        server_health.add_gauges(metrics)
        reports = Reports(store, artifacts, accounts.tokens)
        artifact_reports = ArtifactReports(reports, catalog)
        one_time_store, sessions = OneTimeStore(engine, clock), Sessions(engine, clock)
        sso = create_single_sign_on(settings, accounts, one_time_store, clock)
        public_url = PublicUrl(settings.public_url)
        secure_cookies, csrf = SecureCookies(public_url), CsrfProtection(public_url)
        session_authenticator = SessionAuthenticator(sessions, secure_cookies)
        html = pages.create_renderer(settings)
        handlers = [
            *events.HANDLERS,
            *analytics_routes.HANDLERS,
            *export_routes.HANDLERS,
            *management_routes.HANDLERS,
            *admin_routes.HANDLERS,
            *health.HANDLERS,
        ]
        team_pages = TeamPages(html, accounts.members, quotas, meter)
        page_router = pages.create_router(html, single_sign_on=sso is not None)
        dependencies = provide(
            accounts=accounts,
            teams=accounts.teams,
            users=accounts.users,
            members=accounts.members,
            tokens=accounts.tokens,
            audit_log=accounts.audit,
            usage_cycles=usage_cycles,
            authorizer=authorizer,
            meter=meter,
            quotas=quotas,
            clock=clock,
            settings=settings,
            metrics=metrics,
            health=server_health,
            artifacts=artifacts,
            garbage_collector=garbage_collector,
            event_store=store,
            loader=loader,
            reports=reports,
            artifact_reports=artifact_reports,
            exports=exports,
            datasets=DatasetFactory(reports, catalog),
            sessions=sessions,
            session_authenticator=session_authenticator,
            one_time_store=one_time_store,
            password_authenticator=PasswordAuthenticator(accounts.users, metrics, clock),
            turbo_login=TurboLogin(accounts, sessions, one_time_store, settings.login_token_ttl_s),
            sso=sso,
            public_url=public_url,
            secure_cookies=secure_cookies,
            csrf=csrf,
            html=html,
            team_pages=team_pages,
            settings_page=SettingsPage(team_pages, accounts, quotas, clock),
            account_page=AccountPage(accounts, settings, clock, html),
        )
        document = OpenApiDocument(handlers, dependencies)
        litestar = create_litestar_app(
            [*handlers, *openapi.HANDLERS, page_router],
            guards=[PermissionGuard(authorizer, session_authenticator)],
            dependencies={**dependencies, **provide(openapi_document=document)},
        )
        event_routes = EventRoutes(spool, metrics, clock, settings.max_body_bytes)
        artifact_routes = ArtifactRoutes(
            artifacts,
            quotas,
            metrics,
            clock,
            max_artifact_bytes=_max_artifact_bytes(settings),
            max_body_bytes=settings.max_body_bytes,
            transfers=traffic,
        )
        # Shutdown order, last first. The spool closes before the loader, which then loads what is
        # left; the billing worker closes last, because all others add to the meter.
        _close_in_reverse(stack, worker, loader, spool, artifacts, garbage_collector, exports)
        # Startup order. The spool repairs torn segments before the loader reads them; the meter
        # asks the artifact store for stored bytes.
        for component in (spool, artifacts, meter, loader, exports, garbage_collector, worker):
            component.open()
        return Router(
            [*event_routes.routes(), *artifact_routes.routes()],
            Admission(authorizer, quotas, meter, clock),
            metrics,
            cast("ASGIApp", litestar),
        )


def _close_in_reverse(stack: AsyncExitStack, *components: Component) -> None:
    for component in components:
        stack.push_async_callback(_close, component)


async def _close(component: Component) -> None:
    try:
        await asyncio.to_thread(component.close)
    except Exception:
        _log.exception("closing failed", part=type(component).__name__)


def _max_artifact_bytes(settings: Settings) -> int:
    limits: Sequence[int | None] = (
        settings.max_artifact_bytes,
        settings.max_cache_bytes,
        settings.max_team_cache_bytes,
    )
    return min(limit for limit in limits if limit is not None)
