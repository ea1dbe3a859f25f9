"""All routes of the server, with their operation and permission, and its OpenAPI document."""

import asyncio
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from hitrate.app.openapi import create_document
from hitrate.app.router import Router
from hitrate.app.wiring import App
from hitrate.auth.models import Permission
from hitrate.config import Settings

_SINGLE_SIGN_ON = {
    "oidc_issuer": "https://id.example",
    "oidc_client_id": "hitrate",
    "oidc_client_secret": "secret",
}


class RouteInfo(NamedTuple):
    """One method of one path. Parameters of the path are in braces."""

    method: str
    path: str
    operation: str
    permission: Permission


def all_routes(*, single_sign_on: bool = False) -> list[RouteInfo]:
    """List every method of every path in order, with or without single sign-on configured."""
    router = asyncio.run(_create_router(_SINGLE_SIGN_ON if single_sign_on else {}))
    routes = [RouteInfo(r.method, r.path, r.operation, r.permission) for r in router.routes]
    for handler in _handlers(router):
        permission = handler.opt["permission"]  # every handler must declare one
        operation = str(handler.operation_id or handler.handler_name)
        for path in sorted(handler.paths):
            path = re.sub(r":\w+}", "}", path)
            routes += [
                RouteInfo(method, path, operation, permission)
                for method in sorted(handler.http_methods)
            ]
    # Litestar's order of the handlers of one path varies, but pytest-xdist needs a fixed one.
    return sorted(routes, key=lambda route: (route.path, route.method))


def documentation() -> dict[str, Any]:
    """Return the OpenAPI document of the server."""
    router = asyncio.run(_create_router({}))
    assert isinstance(router.fallback, Litestar)
    dependencies = cast("Mapping[str, Provide]", router.fallback.dependencies)
    handlers = [handler for handler in _handlers(router) if handler.resolve_include_in_schema()]
    text = msgspec.json.encode(create_document(handlers, dependencies))
    documented: dict[str, Any] = msgspec.json.decode(text)
    return documented


async def _create_router(settings: dict[str, Any]) -> Router:
    """Return the router of an app that is started and shut down again."""
    with tempfile.TemporaryDirectory() as data_dir:
        app = App(Settings(data_dir=Path(data_dir), **settings))
        router = await app.startup()
        await app.shutdown()
    return router


def _handlers(router: Router) -> list[HTTPRouteHandler]:
    assert isinstance(router.fallback, Litestar)
    handlers: list[HTTPRouteHandler] = []
    for route in router.fallback.routes:
        assert isinstance(route, HTTPRoute)
        # Litestar itself adds the handlers of OPTIONS.
        handlers += [h for h in route.route_handlers if h.http_methods != {"OPTIONS"}]
    return handlers
