"""Every route of the server, hot or the framework's, with the access that it states."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from hitrate.accounts.guard import Needs
from hitrate.accounts.model import Access
from hitrate.config import Settings
from hitrate.dispatch import HotApp
from hitrate.openapi import document
from hitrate.server import HitrateServer


class Row(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    operation: str
    access: Access


def all_routes() -> list[Row]:
    """Every method of every path."""
    app = asyncio.run(_app())
    rows = [Row(r.method, r.path, r.operation, r.access) for r in app.routes]
    for handler in _handlers(app):
        stated = [g.access for g in handler.guards or [] if isinstance(g, Needs)]
        access = stated[0] if stated else Access.PUBLIC
        operation = str(handler.operation_id or handler.handler_name)
        [path] = handler.paths
        rows += [Row(m, path, operation, access) for m in handler.http_methods]
    return rows


def documentation() -> dict[str, Any]:
    """What `/openapi.json` says."""
    return document(_handlers(asyncio.run(_app())))


async def _app() -> HotApp:
    """The app of a server that is made and closed again."""
    with tempfile.TemporaryDirectory() as folder:
        server = HitrateServer(Settings(data_dir=Path(folder)))
        app = server.open()
        await server.close()
    return app


def _handlers(app: HotApp) -> list[HTTPRouteHandler]:
    assert isinstance(app.fallback, Litestar)
    handlers: list[HTTPRouteHandler] = []
    for route in app.fallback.routes:
        assert isinstance(route, HTTPRoute)
        # The framework adds handlers of OPTIONS by itself.
        handlers += [h for h in route.route_handlers if h.http_methods != {"OPTIONS"}]
    return handlers
