"""The framework's app: everything that is not a hot route, with our errors and one openapi.json."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin
from urllib.parse import unquote

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar.concurrency import set_asyncio_executor, sync_to_thread
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders, State
from litestar.di import Provide
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.types import Guard, Message, Scope

from hitrate import log
from hitrate.errors import RequestError
from hitrate.http.errors import INTERNAL, error_body, error_response

AnyRequest = Request[Any, Any, State]
AnyConnection = ASGIConnection[Any, Any, Any, Any]

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}

_log = log.get_logger("http")


def _number(text: str) -> int | float:
    """What JSON Schema calls an integer is one, however it is written."""
    value = float(text)
    return int(value) if value.is_integer() else value


_decode = msgspec.json.Decoder(float_hook=_number).decode


class StrictRequest(AnyRequest):
    """A body is taken at its word: `"5"` is no number, and 0 is not false."""

    async def json(self) -> Any:
        """Raises ValidationException."""
        field = self.route_handler.parsed_data_field
        try:
            return msgspec.convert(_decode(await self.body()), field.annotation if field else Any)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationException(str(error)) from error


Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

HANDLER_THREADS = 12


def configure_handler_threads() -> None:
    """Have handlers that block run on threads of their own: on those of the event loop, a few slow
    reports would keep artifacts from being read and written. Call before the loop runs."""
    set_asyncio_executor(ThreadPoolExecutor(HANDLER_THREADS, "handler"))


def provide(**services: object) -> dict[str, Provide]:
    """Make services injectable into handlers by name, as `NamedDependency[Service]`."""
    return {
        name: Provide(_constant(service), sync_to_thread=False)
        for name, service in services.items()
    }


def _constant(service: object) -> Callable[[], object]:
    return lambda: service


def create_litestar_app(
    handlers: Sequence[HTTPRouteHandler | Router],
    guards: Sequence[Guard] = (),
    dependencies: Mapping[str, Provide] | None = None,
) -> Litestar:
    """Create an app of handlers, with guards and dependencies for all of them."""
    return Litestar(
        route_handlers=list(handlers),
        guards=list(guards),
        dependencies=dependencies,
        request_class=StrictRequest,
        openapi_config=None,
        exception_handlers={
            RequestError: _refused,
            HTTPException: _framework_refused,
            Exception: _failed,
        },
        logging_config=None,
        debug=False,
        before_send=[_name_methods],
    )


def raw_path_tail(request: AnyRequest) -> str:
    """What follows the words of a route's path, as it was sent: what the framework hands over has
    dots and slashes folded, and may be the name of something else."""
    words, _, _ = request.scope["path_template"].partition("{")
    return unquote(request.scope["raw_path"].decode("latin-1")).removeprefix(words)


def _answer(status: int, body: bytes, headers: dict[str, str]) -> Response[bytes]:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _refused(_request: AnyRequest, error: RequestError) -> Response[bytes]:
    response = error_response(error)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    headers.pop("content-type")
    return _answer(response.status, response.body, headers)


def _framework_refused(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    code = _CODES.get(error.status_code, "bad_request")
    message = f"{error.detail or code}: {request.method} {request.url.path}"
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        message = "; ".join(
            f"{e.get('key')}: {e.get('message')}{_choices(request, e.get('key'))}"
            for e in error.extra
        )
    headers = {"allow": ", ".join(allowed)} if (allowed := _allowed(request, error)) else {}
    return _answer(error.status_code, error_body(code, message), headers)


def _choices(request: AnyRequest, name: Any) -> str:
    """What to send instead, for a parameter that is one of a few words."""
    signature = request.route_handler.parsed_fn_signature.parameters
    words = list(_words(signature[name].raw)) if name in signature else []
    return f"; send {', '.join(words[:-1])} or {words[-1]}." if words else ""


def _words(annotation: Any) -> Iterator[str]:
    """Those of the `Literal` in an annotation."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _words(part)


async def _name_methods(message: Message, scope: Scope) -> None:
    """The framework's own answer to OPTIONS knows only the first handler of a path."""
    if message["type"] == "http.response.start" and scope.get("method") == "OPTIONS":
        app, path = scope["litestar_app"], scope["path"]
        MutableScopeHeaders(message)["allow"] = ", ".join(_methods(app, path))


def _allowed(request: AnyRequest, error: HTTPException) -> list[str]:
    if not isinstance(error, MethodNotAllowedException):
        return []
    return _methods(request.app, request.scope["path"])


def _methods(app: Litestar, path: str) -> list[str]:
    """What an address takes. Of several paths it is of, the framework goes by words first."""
    taking = [route for route in app.routes if re.fullmatch(_form(route.path), path)]
    closest = max((_in_words(route.path) for route in taking), default=[])
    return sorted({m for r in taking if _in_words(r.path) == closest for m in r.methods})


def _in_words(path: str) -> list[bool]:
    """Which parts of a route's path are no parameters."""
    return [not part.startswith("{") for part in path.split("/")]


def _form(path: str) -> str:
    """The regular expression of a route's path."""
    return re.sub(r"\{[^}]*\}", "[^/]+", re.sub(r"\{[^}]*:path\}", ".+", path))


def _failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    _log.error(
        "failed",
        request_id=request.scope.get("request_id"),
        path=request.url.path,
        exc_info=error,
    )
    status, code = INTERNAL
    return _answer(status, error_body(code, "Something went wrong in the server."), {})


def run_in_thread(handler: Callable[Arguments, Answer]) -> Callable[Arguments, Awaitable[Answer]]:
    """Run a blocking handler on one of the handler threads.

    Litestar's own option `sync_to_thread` wraps a handler once for each method of its path; a
    handler that returns a `Response` then returns a coroutine instead.
    """

    @wraps(handler)
    async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return await sync_to_thread(handler, *args, **kwargs)

    return run
