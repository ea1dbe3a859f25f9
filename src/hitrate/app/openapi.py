"""`/openapi.json`: the contract's operations from `contract.json`, ours from the framework."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from inspect import getdoc
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.routes import HTTPRoute
from litestar.utils.sync import AsyncCallable

from hitrate import __version__

_REFUSED = {
    "description": "The request was refused.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def contract() -> dict[str, Any]:
    """The hot routes' paths and components."""
    text = files("hitrate.app").joinpath("contract.json").read_bytes()
    document: dict[str, Any] = msgspec.json.decode(text)
    return document


def document(
    handlers: Sequence[HTTPRouteHandler], dependencies: Mapping[str, Provide]
) -> dict[str, Any]:
    """Everything that the server serves: the contract's operations and those of `handlers`."""
    # An app of its own: one that serves would also serve documentation pages from a CDN.
    config = OpenAPIConfig(title="hitrate", version=__version__)
    app = Litestar(list(handlers), dependencies=dependencies, openapi_config=config)
    ours = app.openapi_schema.to_schema()
    theirs = contract()
    made_by = {handler.operation_id: handler for handler in handlers}
    for path in ours["paths"].values():
        for operation in path.values():
            _say_more(operation, made_by[operation["operationId"]])
    ours["paths"] = {**theirs["paths"], **ours["paths"]}
    components = ours.setdefault("components", {})
    components.setdefault("schemas", {}).update(_bodies(app))
    for kind, named in theirs["components"].items():
        components.setdefault(kind, {}).update(named)
    return ours


def _say_more(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    """How an operation refuses, and what the framework does not see: the sentence that says what a
    route does, and types of content other than JSON."""
    operation["responses"].pop("400", None)
    operation["responses"]["default"] = _REFUSED
    function: Any = handler.fn
    while isinstance(function, AsyncCallable):
        function = function.func
    if sentence := getdoc(function):
        operation["summary"] = " ".join(sentence.split())
    if types := handler.opt.get("content_types"):
        operation["responses"]["200"]["content"] = {
            name: {"schema": {"type": "string"}} for name in types
        }


def _bodies(app: Litestar) -> dict[str, Any]:
    """The schemas of what routes take, which say that there are no other fields."""
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    fields = [h.parsed_data_field for route in routes for h in route.route_handlers]
    taken = {field.annotation for field in fields if field}
    structs = [
        kind for kind in taken if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return schemas


def openapi_api(
    handlers: Sequence[HTTPRouteHandler], dependencies: Mapping[str, Provide]
) -> list[HTTPRouteHandler]:
    """The route of this room, which describes the others."""

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document(handlers, dependencies))

    @get("/openapi.json", include_in_schema=False, sync_to_thread=True)
    def openapi() -> Response[bytes]:
        return Response(encoded(), media_type="application/json")

    return [openapi]
