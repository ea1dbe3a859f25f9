"""PermissionGuard and pages: no route waits for the threads of routes that it does not need."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import PermissionGuard, SessionAuthenticator
from hitrate.auth.models import Permission
from hitrate.auth.sessions import Sessions
from hitrate.clock import Clock
from hitrate.db.engine import open_database
from hitrate.http.cookies import SecureCookies
from hitrate.http.litestar import create_litestar_app, run_in_page_thread, run_in_thread
from hitrate.http.redirects import PublicUrl

TIMEOUT_S = 10


@get("/public", permission=Permission.PUBLIC)
async def public() -> str:
    return "public"


@get("/page", permission=Permission.PUBLIC)
@run_in_page_thread
def page() -> str:
    return "page"


@get("/private", permission=Permission.TEAM)
@run_in_thread
def private() -> str:
    return "private"


@pytest.fixture
def app(tmp_path: Path) -> Litestar:
    engine, clock = open_database(tmp_path), Clock()
    authenticator = SessionAuthenticator(Sessions(engine, clock), SecureCookies(PublicUrl("")))
    guard = PermissionGuard(Authorizer(AccountStore(engine, clock), clock), authenticator)
    return create_litestar_app([public, page, private], guards=[guard])


async def _get(app: Litestar, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(cast("Any", app))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


def _run_with_busy_handler_threads(test: Coroutine[None, None, None]) -> None:
    """Run a test while the only handler thread, the default one here, is occupied."""

    async def run() -> None:
        release = Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, release.wait)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await test
        finally:
            release.set()
            await busy

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/public", "/page"])
def test_public_route_responds_while_handler_threads_are_busy(app: Litestar, path: str) -> None:
    async def request() -> None:
        response = await _get(app, path)
        assert (response.status_code, response.text) == (200, path.removeprefix("/"))

    _run_with_busy_handler_threads(request())


def test_route_with_a_permission_rejects_a_request_without_token(app: Litestar) -> None:
    assert asyncio.run(_get(app, "/private")).status_code == 401
