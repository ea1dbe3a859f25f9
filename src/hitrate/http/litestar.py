"""Litestar app of the routes outside the hot paths: strict JSON, errors, handler threads."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial, wraps
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin
from urllib.parse import unquote

import msgspec
from anyio import to_thread
from litestar import Litestar, Request, Response, Router
from litestar.concurrency import set_asyncio_executor, sync_to_thread
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders, State
from litestar.di import Provide
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Guard, Message, Scope

from hitrate import log
from hitrate.errors import RequestError
from hitrate.http.errors import INTERNAL, INTERNAL_MESSAGE, error_body, error_response

AnyRequest = Request[Any, Any, State]
AnyConnection = ASGIConnection[Any, Any, Any, Any]

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}

_MISSING_PARAMETER = re.compile(r"Missing required query parameter '(\w+)'")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

HANDLER_THREADS = 12

_log = log.get_logger("http")


def create_litestar_app(
    handlers: Sequence[HTTPRouteHandler | Router],
    guards: Sequence[Guard] = (),
    dependencies: Mapping[str, Provide] | None = None,
) -> Litestar:
    """Create the app. `guards` and `dependencies` apply to all handlers.

    Raises MissingPermission if a handler does not declare `permission=`.
    """
    app = Litestar(
        # Copies: registration stores the app in the handler, and a handler of a module outlives it.
        # Litestar itself copies routers.
        route_handlers=[h if isinstance(h, Router) else copy(h) for h in handlers],
        guards=list(guards),
        dependencies=dependencies,
        request_class=StrictRequest,
        openapi_config=None,
        exception_handlers={
            RequestError: _handle_request_error,
            HTTPException: _handle_litestar_error,
            Exception: _handle_unexpected_error,
        },
        logging_config=None,
        debug=False,
        before_send=[_complete_allow_header],
    )
    _check_permissions(app)
    _resolve_dependencies_in_turn(app)
    return app


class MissingPermission(Exception):
    """A handler does not declare the permission that it requires."""


def _check_permissions(app: Litestar) -> None:
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            generated = handler.http_methods == {"OPTIONS"}
            if not generated and handler.opt.get("permission") is None:
                raise MissingPermission(
                    f"The handler {handler} of {route.path} declares no permission: add "
                    "permission=Permission.X to its decorator."
                )


def _resolve_dependencies_in_turn(app: Litestar) -> None:
    """Make Litestar resolve the dependencies of a handler one after the other.

    It would start a task for each one, which took up to 0.17 ms per request. None of ours waits.
    """
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for _, parameters in route.route_handler_map.values():
                batches = parameters.dependency_batches
                parameters.dependency_batches = [{one} for batch in batches for one in batch]


def provide(**services: object) -> dict[str, Provide]:
    """Make services injectable into handlers by name, as `NamedDependency[Service]`."""
    return {
        name: Provide(_constant(service), sync_to_thread=False)
        for name, service in services.items()
    }


def _constant(service: object) -> Callable[[], object]:
    return lambda: service


def configure_handler_threads() -> None:
    """Give blocking handlers a separate thread pool. Call before the event loop runs.

    In the default pool of the event loop, a few slow reports would delay artifact I/O.
    """
    set_asyncio_executor(ThreadPoolExecutor(HANDLER_THREADS, "handler"))


def run_in_thread(handler: Callable[Arguments, Result]) -> Callable[Arguments, Awaitable[Result]]:
    """Decorate a blocking handler so that it runs on a handler thread.

    Litestar's option `sync_to_thread` wraps a handler once for each method of its path; a handler
    that returns a `Response` then returns a coroutine instead.
    """

    @wraps(handler)
    async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await sync_to_thread(handler, *args, **kwargs)

    return run


def run_in_page_thread(
    handler: Callable[Arguments, Result],
) -> Callable[Arguments, Awaitable[Result]]:
    """Decorate a blocking handler of a page so that it runs on a page thread.

    Pages have threads of their own, the 40 of anyio: password checks and slow identity providers
    would otherwise occupy the handler threads that the API needs, and API reports those of logins.
    """

    @wraps(handler)
    async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await to_thread.run_sync(partial(handler, *args, **kwargs))

    return run


def _parse_json_float(text: str) -> int | float:
    """Return an integer for `5.0`, because JSON Schema counts it as an integer."""
    value = float(text)
    return int(value) if value.is_integer() else value


_decode = msgspec.json.Decoder(float_hook=_parse_json_float).decode


class StrictRequest(AnyRequest):
    """A request whose JSON body is not coerced: `"5"` is not a number, and 0 is not false."""

    async def json(self) -> Any:
        """Return the body as the type that the handler declares. Raises ValidationException."""
        field = self.route_handler.parsed_data_field
        try:
            return msgspec.convert(_decode(await self.body()), field.annotation if field else Any)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationException(str(error)) from error


def raw_path_tail(request: AnyRequest) -> str:
    """Return the rest of the path after the literal start of its route, as the client sent it.

    Litestar normalizes dots and slashes in path parameters, which can change a name.
    """
    prefix, _, _ = request.scope["path_template"].partition("{")
    return unquote(request.scope["raw_path"].decode("latin-1")).removeprefix(prefix)


def _json_response(status: int, body: bytes, headers: dict[str, str]) -> Response[bytes]:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _handle_request_error(_request: AnyRequest, error: RequestError) -> Response[bytes]:
    response = error_response(error)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    headers.pop("content-type")
    return _json_response(response.status, response.body, headers)


def _handle_litestar_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    code = _CODES.get(error.status_code, "bad_request")
    message = f"{error.detail or code}: {request.method} {request.url.path}"
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        message = "; ".join(
            f"{e.get('key')}: {e.get('message')}{_allowed_values_hint(request, e.get('key'))}"
            for e in error.extra
        )
    elif missing := _MISSING_PARAMETER.match(error.detail):
        hint = _allowed_values_hint(request, missing[1]) or "."
        message = f"{missing[1]}: is required{hint}"
    headers = {}
    if isinstance(error, MethodNotAllowedException):
        headers["allow"] = ", ".join(_allowed_methods(request.app, request.scope["path"]))
    return _json_response(error.status_code, error_body(code, message), headers)


def _handle_unexpected_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    _log.error(
        "request failed",
        request_id=request.scope.get("request_id"),
        path=request.url.path,
        exc_info=error,
    )
    status, code = INTERNAL
    return _json_response(status, error_body(code, INTERNAL_MESSAGE), {})


def _allowed_values_hint(request: AnyRequest, parameter: Any) -> str:
    """Return `; send a, b or c.` for a parameter that takes one of several literal values."""
    handler = request.route_handler
    dependencies = handler.resolve_dependencies().values()
    signatures = [handler.parsed_fn_signature, *(d.parsed_fn_signature for d in dependencies)]
    annotations = [s.parameters[parameter].raw for s in signatures if parameter in s.parameters]
    values = list(_literal_values(annotations[0])) if annotations else []
    return f"; send {', '.join(values[:-1])} or {values[-1]}." if values else ""


def _literal_values(annotation: Any) -> Iterator[str]:
    """Yield the values of all `Literal` types within an annotation."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for argument in get_args(annotation):
            yield from _literal_values(argument)


async def _complete_allow_header(message: Message, scope: Scope) -> None:
    """List all methods of a path in the response to OPTIONS.

    Litestar lists those of the path's first handler only.
    """
    if message["type"] == "http.response.start" and scope.get("method") == "OPTIONS":
        methods = _allowed_methods(scope["litestar_app"], scope["path"])
        MutableScopeHeaders(message)["allow"] = ", ".join(methods)


def _allowed_methods(app: Litestar, path: str) -> list[str]:
    """List the methods of a path.

    If several routes match, Litestar prefers the one with literal segments, and so does this.
    """
    matching = [route for route in app.routes if re.fullmatch(_path_regex(route.path), path)]
    best = max((_literal_segments(route.path) for route in matching), default=[])
    return sorted(
        {
            method
            for route in matching
            if _literal_segments(route.path) == best
            for method in route.methods
        }
    )


def _literal_segments(path: str) -> list[bool]:
    """Return for each segment of a route's path whether it is literal, not a parameter."""
    return [not segment.startswith("{") for segment in path.split("/")]


def _path_regex(path: str) -> str:
    """Return the regular expression that a route's path matches."""
    return re.sub(r"\{[^}]*\}", "[^/]+", re.sub(r"\{[^}]*:path\}", ".+", path))
