"""The framework's app: everything that is not a hot route, with our errors and one openapi.json."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.handlers import HTTPRouteHandler

from hitrate import logs
from hitrate.errors import Refused
from hitrate.web.errors import INTERNAL, error_body, error_response

AnyRequest = Request[Any, Any, State]

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}

_log = logs.get("web")


def framework_app(handlers: Sequence[HTTPRouteHandler]) -> Litestar:
    """An app of these handlers."""
    return Litestar(
        route_handlers=list(handlers),
        openapi_config=None,
        exception_handlers={
            Refused: _refused,
            HTTPException: _framework_refused,
            Exception: _failed,
        },
        logging_config=None,
        debug=False,
    )


def _answer(status: int, body: bytes, headers: dict[str, str]) -> Response[bytes]:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _refused(_request: AnyRequest, error: Refused) -> Response[bytes]:
    response = error_response(error)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    headers.pop("content-type")
    return _answer(response.status, response.body, headers)


def _framework_refused(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    code = _CODES.get(error.status_code, "bad_request")
    message = f"{error.detail or code}: {request.method} {request.url.path}"
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        message = "; ".join(f"{e.get('key')}: {e.get('message')}" for e in error.extra)
    headers = {"allow": ", ".join(allowed)} if (allowed := _allowed(request, error)) else {}
    return _answer(error.status_code, error_body(code, message), headers)


def _allowed(request: AnyRequest, error: HTTPException) -> list[str]:
    if not isinstance(error, MethodNotAllowedException):
        return []
    path = request.scope["path"]
    return sorted({m for r in request.app.routes if r.path == path for m in r.methods})


def _failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    _log.error(
        "failed",
        request_id=request.scope.get("request_id"),
        path=request.url.path,
        exc_info=error,
    )
    status, code = INTERNAL
    return _answer(status, error_body(code, "Something went wrong in the server."), {})
