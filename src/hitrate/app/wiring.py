"""Composition root: creates every component, starts and stops them, and lists all routes.

The only module that names concrete implementations. One process serves one data directory.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol, cast

from litestar import Litestar
from sqlalchemy import Engine

from hitrate import log
from hitrate.analytics import routes as analytics_routes
from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.export import routes as export_routes
from hitrate.analytics.export.datasets import DatasetFactory
from hitrate.analytics.export.jobs import ExportManager
from hitrate.analytics.reports import Reports
from hitrate.app import health as server_routes
from hitrate.app import openapi
from hitrate.app.health import Health
from hitrate.app.openapi import OpenApiDocument
from hitrate.app.router import Router
from hitrate.artifact_attribution import ArtifactAttribution
from hitrate.artifacts import admin_routes
from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.catalog import ArtifactCatalog
from hitrate.artifacts.eviction import CacheLimits
from hitrate.artifacts.gc import GarbageCollector
from hitrate.artifacts.routes import ArtifactRoutes
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import PermissionGuard, SessionAuthenticator
from hitrate.auth.password_login import PasswordAuthenticator
from hitrate.auth.sessions import OneTimeStore, Sessions
from hitrate.auth.sso import create_single_sign_on
from hitrate.auth.turbo_login import TurboLogin
from hitrate.billing.admission import Admission
from hitrate.billing.event_metering import EventMeteringObserver
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage import UsageCycleStore
from hitrate.billing.worker import BillingWorker
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.db.engine import open_database
from hitrate.events import routes as events
from hitrate.events.loader import Loader
from hitrate.events.quarantine import Quarantine
from hitrate.events.routes import EventRoutes
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore, create_event_store
from hitrate.events.transfers import TransferCounter
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


class App:
    """All components of one server, on one data directory that the caller has locked."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or Clock()
        self._stack = AsyncExitStack()

    async def startup(self) -> Router:
        """Open every component and return the ASGI app that serves them.

        Call on the running event loop. If a component cannot be opened, the opened ones are
        closed again and the error is raised.
        """
        async with AsyncExitStack() as stack:
            router = self._start(stack)
            self._stack = stack.pop_all()
        return router

    async def shutdown(self) -> None:
        """Finish pending work and close every component; one that fails stops no other."""
        await self._stack.aclose()

    def _start(self, stack: AsyncExitStack) -> Router:
        engine = open_database(self._settings.data_dir)
        stack.callback(engine.dispose)
        parts = _create_components(self._settings, self._clock, engine)
        router = _create_router(self._settings, self._clock, engine, parts)
        # Shutdown order, last first. The spool closes before the loader, which then loads the
        # rest; the billing worker and the meter close last, because all others add to the meter.
        _close_in_reverse(
            stack,
            parts.meter,
            parts.billing_worker,
            parts.loader,
            parts.spool,
            parts.artifacts,
            parts.garbage_collector,
            parts.exports,
        )
        # Startup order. The spool repairs torn segments before the loader reads them; the meter
        # reads stored bytes from the artifact store.
        for component in (
            parts.spool,
            parts.artifacts,
            parts.meter,
            parts.loader,
            parts.exports,
            parts.garbage_collector,
            parts.billing_worker,
        ):
            component.open()
        return router


class _Component(Protocol):
    """A component that owns threads or files. `open` and `close` may each be called twice."""

    def open(self) -> None: ...
    def close(self) -> None: ...


def _close_in_reverse(stack: AsyncExitStack, *components: _Component) -> None:
    for component in components:
        stack.push_async_callback(_close, component)


async def _close(component: _Component) -> None:
    try:
        await asyncio.to_thread(component.close)
    except Exception:
        _log.exception("closing failed", name=type(component).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Components:
    """The components that routes work with."""

    metrics: Metrics
    accounts: AccountStore
    authorizer: Authorizer
    usage_cycles: UsageCycleStore
    meter: Meter
    quotas: QuotaEnforcer
    billing_worker: BillingWorker
    artifacts: ArtifactStore
    catalog: ArtifactCatalog
    garbage_collector: GarbageCollector
    spool: Spool
    quarantine: Quarantine
    event_store: DuckDBEventStore
    transfers: TransferCounter
    loader: Loader
    exports: ExportManager


def _create_components(settings: Settings, clock: Clock, engine: Engine) -> _Components:
    """Create the components, not opened. Call on the running event loop."""
    data_dir = DataDir(settings.data_dir)
    metrics = Metrics()
    accounts = AccountStore(engine, clock)
    authorizer = Authorizer(accounts, clock)
    usage_cycles = UsageCycleStore(engine)
    blobs = BlobStore(data_dir.artifacts, settings.min_free_bytes)
    artifacts = ArtifactStore(engine, blobs, clock)
    catalog = ArtifactCatalog(engine)
    meter = Meter(settings.data_dir, lambda team_id: artifacts.usage(team_id).size_bytes, clock)
    spool = Spool(data_dir.spool, clock)
    quarantine = Quarantine(data_dir.quarantine)
    event_store = create_event_store(settings, artifacts.index.durations)
    transfers = TransferCounter(clock)
    return _Components(
        metrics=metrics,
        accounts=accounts,
        authorizer=authorizer,
        usage_cycles=usage_cycles,
        meter=meter,
        quotas=QuotaEnforcer(meter, clock),
        billing_worker=BillingWorker(accounts, usage_cycles, meter, authorizer, clock),
        artifacts=artifacts,
        catalog=catalog,
        garbage_collector=GarbageCollector(
            artifacts,
            CacheLimits.from_settings(settings),
            metrics,
            clock,
            asyncio.get_running_loop(),
        ),
        spool=spool,
        quarantine=quarantine,
        event_store=event_store,
        transfers=transfers,
        loader=Loader(
            spool,
            event_store,
            quarantine,
            metrics,
            clock,
            event_ttl_s=settings.event_ttl_s,
            transfers=transfers,
            observers=(
                EventMeteringObserver(meter),
                ArtifactAttribution(event_store, catalog, clock),
            ),
        ),
        exports=ExportManager(event_store, data_dir.exports, settings.min_free_bytes),
    )


def _create_router(settings: Settings, clock: Clock, engine: Engine, parts: _Components) -> Router:
    """Create the app of all routes: the hot paths, and Litestar for all others."""
    event_routes = EventRoutes(parts.spool, parts.metrics, clock, settings.max_body_bytes)
    artifact_routes = ArtifactRoutes(
        parts.artifacts,
        parts.quotas,
        parts.metrics,
        clock,
        max_artifact_bytes=_max_artifact_bytes(settings),
        max_body_bytes=settings.max_body_bytes,
        transfers=parts.transfers,
        public_url=settings.public_url,
    )
    return Router(
        [*event_routes.routes(), *artifact_routes.routes()],
        Admission(parts.authorizer, parts.quotas, parts.meter, clock),
        parts.metrics,
        cast("ASGIApp", _create_litestar_app(settings, clock, engine, parts)),
    )


def _max_artifact_bytes(settings: Settings) -> int:
    limits: Sequence[int | None] = (
        settings.max_artifact_bytes,
        settings.max_cache_bytes,
        settings.max_team_cache_bytes,
    )
    return min(limit for limit in limits if limit is not None)


def _create_litestar_app(
    settings: Settings, clock: Clock, engine: Engine, parts: _Components
) -> Litestar:
    """Create the app of reports, exports, management, server routes and pages.

    Handlers receive the services below by the name of their argument.
    """
    accounts = parts.accounts
    health = Health(settings, parts.spool, parts.quarantine, parts.loader, parts.artifacts)
    health.add_gauges(parts.metrics)
    reports = Reports(parts.event_store, parts.artifacts, accounts.tokens)
    one_time_store, sessions = OneTimeStore(engine, clock), Sessions(engine, clock)
    sso = create_single_sign_on(settings, accounts, one_time_store, clock)
    public_url = PublicUrl(settings.public_url)
    secure_cookies, csrf = SecureCookies(public_url), CsrfProtection(public_url)
    session_authenticator = SessionAuthenticator(sessions, secure_cookies)
    html = pages.create_renderer(settings)
    team_pages = TeamPages(html, accounts.members, parts.quotas, parts.meter)
    dependencies = provide(
        settings=settings,
        clock=clock,
        metrics=parts.metrics,
        health=health,
        accounts=accounts,
        teams=accounts.teams,
        users=accounts.users,
        members=accounts.members,
        tokens=accounts.tokens,
        audit_log=accounts.audit,
        authorizer=parts.authorizer,
        usage_cycles=parts.usage_cycles,
        meter=parts.meter,
        quotas=parts.quotas,
        artifacts=parts.artifacts,
        garbage_collector=parts.garbage_collector,
        event_store=parts.event_store,
        loader=parts.loader,
        reports=reports,
        artifact_reports=ArtifactReports(reports, parts.catalog),
        exports=parts.exports,
        datasets=DatasetFactory(reports, parts.catalog),
        sessions=sessions,
        session_authenticator=session_authenticator,
        one_time_store=one_time_store,
        password_authenticator=PasswordAuthenticator(accounts.users, parts.metrics, clock),
        turbo_login=TurboLogin(accounts, sessions, one_time_store, settings.login_token_ttl_s),
        sso=sso,
        public_url=public_url,
        secure_cookies=secure_cookies,
        csrf=csrf,
        html=html,
        team_pages=team_pages,
        settings_page=SettingsPage(team_pages, accounts, parts.quotas, clock),
        account_page=AccountPage(accounts, settings, clock, html),
    )
    documented_handlers = [
        *events.HANDLERS,
        *analytics_routes.HANDLERS,
        *export_routes.HANDLERS,
        *management_routes.HANDLERS,
        *admin_routes.HANDLERS,
        *server_routes.HANDLERS,
    ]
    document = OpenApiDocument(documented_handlers, dependencies)
    page_router = pages.create_router(html, single_sign_on=sso is not None)
    return create_litestar_app(
        [*documented_handlers, *openapi.HANDLERS, page_router],
        guards=[PermissionGuard(parts.authorizer, session_authenticator)],
        dependencies={**dependencies, **provide(openapi_document=document)},
    )
