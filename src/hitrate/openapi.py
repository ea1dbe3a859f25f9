"""`/openapi.json`: the contract's operations from `contract.json`, ours from the framework."""

from importlib.resources import files
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler

_PROBLEM = {
    "description": "The request was refused.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def contract() -> dict[str, Any]:
    """The hot routes' paths and components."""
    text = files("hitrate").joinpath("contract.json").read_bytes()
    document: dict[str, Any] = msgspec.json.decode(text)
    return document


def document(app: Litestar) -> dict[str, Any]:
    """Everything that the server serves."""
    ours, theirs = app.openapi_schema.to_schema(), contract()
    for path in ours["paths"].values():
        for operation in path.values():
            _describe_refusals(operation)
    ours["paths"] = {**theirs["paths"], **ours["paths"]}
    components = ours.setdefault("components", {})
    for kind, named in theirs["components"].items():
        components.setdefault(kind, {}).update(named)
    return ours


def _describe_refusals(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("400", None)
    responses["default"] = _PROBLEM


def openapi_api() -> list[HTTPRouteHandler]:
    """The route of this room."""

    @get("/openapi.json", include_in_schema=False, sync_to_thread=True)
    def openapi(request: Any) -> Response[bytes]:
        return Response(msgspec.json.encode(document(request.app)), media_type="application/json")

    return [openapi]
