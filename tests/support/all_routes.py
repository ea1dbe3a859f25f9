"""Every route of the server, hot or the framework's, with the access that it states."""

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
from hitrate.auth.guards import RequirePermission
from hitrate.auth.models import Permission
from hitrate.config import Settings

_SINGLE_SIGN_ON = {
    "oidc_issuer": "https://id.example",
    "oidc_client_id": "hitrate",
    "oidc_client_secret": "secret",
}


class Row(NamedTuple):
    """One method of one path, whose parameters stand in braces."""

    method: str
    path: str
    operation: str
    permission: Permission


def all_routes(*, single_sign_on: bool = False) -> list[Row]:
    """Every method of every path; those for single sign-on are there where it is set up."""
    app = asyncio.run(_app(_SINGLE_SIGN_ON if single_sign_on else {}))
    rows = [Row(r.method, r.path, r.operation, r.permission) for r in app.routes]
    for handler in _handlers(app):
        declared = handler.opt.get("permission")
        stated = (
            [declared]
            if declared
            else [g.permission for g in handler.guards or [] if isinstance(g, RequirePermission)]
        )
        permission = stated[0] if stated else Permission.PUBLIC
        operation = str(handler.operation_id or handler.handler_name)
        for path in sorted(handler.paths):
            path = re.sub(r":\w+}", "}", path)
            rows += [Row(m, path, operation, permission) for m in sorted(handler.http_methods)]
    return rows


def documentation() -> dict[str, Any]:
    """What `/openapi.json` says."""
    app = asyncio.run(_app({}))
    assert isinstance(app.fallback, Litestar)
    dependencies = cast("Mapping[str, Provide]", app.fallback.dependencies)
    handlers = [handler for handler in _handlers(app) if handler.resolve_include_in_schema()]
    text = msgspec.json.encode(create_document(handlers, dependencies))
    documented: dict[str, Any] = msgspec.json.decode(text)
    return documented


async def _app(settings: dict[str, Any]) -> Router:
    """The app of a server that is made and closed again."""
    with tempfile.TemporaryDirectory() as folder:
        server = App(Settings(data_dir=Path(folder), **settings))
        app = await server.startup()
        await server.shutdown()
    return app


def _handlers(app: Router) -> list[HTTPRouteHandler]:
    assert isinstance(app.fallback, Litestar)
    handlers: list[HTTPRouteHandler] = []
    for route in app.fallback.routes:
        assert isinstance(route, HTTPRoute)
        # The framework adds handlers of OPTIONS by itself.
        own = [h for h in route.route_handlers if h.http_methods != {"OPTIONS"}]
        # Litestar's order of the handlers of one path varies; xdist needs a fixed one.
        handlers += sorted(own, key=lambda handler: sorted(handler.http_methods))
    return handlers
