"""ASGI router of the hot paths: authorizes, handles, meters and counts each request."""

import itertools
import secrets
import time
from collections.abc import Sequence
from functools import partial

from hitrate import log
from hitrate.auth.models import AuthContext
from hitrate.auth.route_types import AnyRoute, PublicRoute
from hitrate.billing.admission import Admission
from hitrate.errors import MethodNotAllowed, RequestError
from hitrate.http.asgi import ASGIApp, Message, Receive, Request, Response, Scope, Send
from hitrate.http.errors import error_response
from hitrate.metrics import Metrics

_UNAUTHORIZED = 401
_PAYLOAD_TOO_LARGE = 413

_log = log.get_logger("http")


class Router:
    """ASGI app that serves `routes` and forwards all other paths to `fallback`.

    Every response gets a unique `x-request-id`, and every request is counted in `metrics`.
    """

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
        self._admission = admission
        self._metrics = metrics
        self._instance_id = secrets.token_hex(4)
        self._request_seq = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.fallback(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = f"{self._instance_id}-{next(self._request_seq):x}"
        methods = self._match(scope["path"])
        if methods is None:
            await self._forward(scope, receive, send, request_id, started)
            return
        request = Request(scope, receive, request_id)
        operation, response, auth = await self._handle(methods, request, scope["method"])
        if response.status == _UNAUTHORIZED:
            await self._count_failed_auth(scope)
        if request.has_unread_body and response.status != _PAYLOAD_TOO_LARGE:
            await request.drain()
        await response.send(request, send, partial(self._admission.record_sent_bytes, auth))
        self._metrics.observe_request(operation, response.status, time.perf_counter() - started)

    async def _count_failed_auth(self, scope: Scope) -> None:
        self._metrics.add("hitrate_auth_failures")
        await self._admission.delay_failed_auth(scope)

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, started: float
    ) -> None:
        status = 0

        async def send_with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == _UNAUTHORIZED:
                    await self._count_failed_auth(scope)
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        scope["request_id"] = request_id
        await self.fallback(scope, receive, send_with_request_id)
        # One operation for all of these: with paths as labels, anyone could create any number.
        self._metrics.observe_request("other", status, time.perf_counter() - started)

    def _match(self, path: str) -> dict[str, AnyRoute] | None:
        """Return the routes of a path by method, or None if no route has this path."""
        methods = self._exact.get(path)
        if methods is None:
            for prefix, prefix_methods in self._prefixes.items():
                if path.startswith(prefix):
                    return prefix_methods
        return methods

    async def _handle(
        self, methods: dict[str, AnyRoute], request: Request, method: str
    ) -> tuple[str, Response, AuthContext | None]:
        """Return the operation, the response, and the caller if the request succeeded."""
        route = methods.get(method)
        operation = route.operation if route else "none"
        try:
            if route is None:
                raise MethodNotAllowed(
                    f"{method} is not served here; use {', '.join(methods)}.", tuple(methods)
                )
            if isinstance(route, PublicRoute):
                return operation, await route.handler(request), None
            auth = self._admission.authorize(request, route.permission)
            response = await route.handler(request, auth)
            await self._admission.meter(route.permission, auth, response)
            return operation, response, auth
        except RequestError as error:
            response = error_response(error)
            _log.info(
                "request rejected",
                request_id=request.id,
                operation=operation,
                status=response.status,
                reason=str(error),
            )
        except Exception as error:
            response = error_response(error)
            _log.exception("request failed", request_id=request.id, operation=operation)
        return operation, response, None
