"""Every route of the server, hot or the framework's, with the access that it states."""

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from litestar import Litestar
from litestar.routes import HTTPRoute

from hitrate.accounts.guard import Needs
from hitrate.accounts.model import Access
from hitrate.config import Settings
from hitrate.server import HitrateServer


class Row(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    operation: str
    access: Access


def all_routes() -> list[Row]:
    """Read from the parts of a server that is made and closed again."""
    return asyncio.run(_read())


async def _read() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        server = HitrateServer(Settings(data_dir=Path(folder)))
        app = server.open()
        await server.close()
    rows = [Row(r.method, r.path, r.operation, r.access) for r in app.routes]
    assert isinstance(app.fallback, Litestar)
    for route in app.fallback.routes:
        assert isinstance(route, HTTPRoute)
        for handler in route.route_handlers:
            stated = [g.access for g in handler.guards or [] if isinstance(g, Needs)]
            access = stated[0] if stated else Access.PUBLIC
            operation = str(handler.operation_id or handler.handler_name)
            rows += [Row(m, route.path, operation, access) for m in handler.http_methods]
    return [row for row in rows if row.method != "OPTIONS" or row.operation == "preflight"]
