"""Router of the hot paths: raw ASGI, a table of routes, one sequence for every request.

Every request gets an id, is authorized, checked against its team's quotas, handled, metered and
counted. A path that is not in the table goes to the Litestar app.
"""

import itertools
import secrets
import time
from collections.abc import Sequence
from functools import partial

from hitrate import log
from hitrate.auth.models import AuthContext
from hitrate.auth.routes import AnyRoute, PublicRoute
from hitrate.billing.admission import Admission
from hitrate.errors import MethodNotAllowed, RequestError
from hitrate.http.asgi import ASGIApp, Message, Receive, Request, Response, Scope, Send
from hitrate.http.errors import error_response
from hitrate.metrics import Metrics

_UNAUTHORIZED = 401
_TOO_LARGE = 413

_log = log.get_logger("http")


class Router:
    """Serves `routes`; hands everything else to `fallback`."""

    def __init__(
        self, routes: Sequence[AnyRoute], admission: Admission, metrics: Metrics, fallback: ASGIApp
    ) -> None:
        self.routes = tuple(routes)
        self.fallback = fallback
        self._exact: dict[str, dict[str, AnyRoute]] = {}
        self._prefixes: dict[str, dict[str, AnyRoute]] = {}
        for route in routes:
            table = self._prefixes if route.path.endswith("/{hash}") else self._exact
            path = route.path.removesuffix("{hash}")
            table.setdefault(path, {})[route.method] = route
        self._tollhouse = admission
        self._metrics = metrics
        self._boot = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.fallback(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = f"{self._boot}-{next(self._numbers):x}"
        methods = self._methods(scope["path"])
        if methods is None:
            await self._hand_on(scope, receive, send, request_id, started)
            return
        request = Request(scope, receive, request_id)
        operation, response, auth = await self._answer(methods, request, scope["method"])
        if response.status == _UNAUTHORIZED:
            await self._refuse_token(scope)
        if request.unread and response.status != _TOO_LARGE:
            await request.drain()
        await response.send(request, send, partial(self._tollhouse.meter_piece, auth))
        self._metrics.request(operation, response.status, time.perf_counter() - started)

    async def _refuse_token(self, scope: Scope) -> None:
        self._metrics.add("hitrate_tokens_refused")
        await self._tollhouse.slow_down(scope)

    async def _hand_on(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, started: float
    ) -> None:
        status = 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == _UNAUTHORIZED:
                    await self._refuse_token(scope)
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        scope["request_id"] = request_id
        await self.fallback(scope, receive, send_counted)
        # One name for all of them: a path would let anyone make as many labels as they like.
        self._metrics.request("other", status, time.perf_counter() - started)

    def _methods(self, path: str) -> dict[str, AnyRoute] | None:
        methods = self._exact.get(path)
        if methods is None:
            for prefix, found in self._prefixes.items():
                if path.startswith(prefix):
                    return found
        return methods

    async def _answer(
        self, methods: dict[str, AnyRoute], request: Request, method: str
    ) -> tuple[str, Response, AuthContext | None]:
        route = methods.get(method)
        operation = route.operation if route else "none"
        try:
            if route is None:
                raise MethodNotAllowed(
                    f"{method} is not served here; use {', '.join(methods)}.", tuple(methods)
                )
            if isinstance(route, PublicRoute):
                return operation, await route.handler(request), None
            auth = self._tollhouse.admit(request, route.permission)
            response = await route.handler(request, auth)
            await self._tollhouse.meter(request, route.permission, auth, response)
            return operation, response, auth
        except RequestError as error:
            response = error_response(error)
            _log.info(
                "refused",
                request_id=request.id,
                operation=operation,
                status=response.status,
                reason=str(error),
            )
        except Exception as error:
            response = error_response(error)
            _log.exception("failed", request_id=request.id, operation=operation)
        return operation, response, None
