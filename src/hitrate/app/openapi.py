"""OpenAPI document: `contract.json` for the hot paths, generated operations for all others."""

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from importlib.resources import files
from inspect import getdoc
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.routes import HTTPRoute
from litestar.utils.sync import AsyncCallable

from hitrate import __version__
from hitrate.auth.models import Permission
from hitrate.http.litestar import run_in_thread

_ERROR_RESPONSE = {
    "description": "The request was refused.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


class OpenApiDocument:
    """The OpenAPI document of a server as JSON, generated on first use."""

    def __init__(
        self, handlers: Sequence[HTTPRouteHandler], dependencies: Mapping[str, Provide]
    ) -> None:
        """`dependencies` are the app's services; their names are not request parameters."""
        self._handlers = handlers
        self._dependencies = dependencies

    @cached_property
    def json(self) -> bytes:
        """The encoded document."""
        return msgspec.json.encode(create_document(self._handlers, self._dependencies))


@get(
    "/openapi.json",
    operation_id="openapi",
    include_in_schema=False,
    permission=Permission.PUBLIC,
)
@run_in_thread
def openapi_json(openapi_document: NamedDependency[OpenApiDocument]) -> Response[bytes]:
    """The OpenAPI document of this server."""
    return Response(openapi_document.json, media_type="application/json")


HANDLERS = (openapi_json,)


def load_contract() -> dict[str, Any]:
    """Return the hand-written document of the hot paths, which follows the published contract."""
    text = files("hitrate.app").joinpath("contract.json").read_bytes()
    document: dict[str, Any] = msgspec.json.decode(text)
    return document


def create_document(
    handlers: Sequence[HTTPRouteHandler], dependencies: Mapping[str, Provide]
) -> dict[str, Any]:
    """Return the document of the contract's operations and the operations of `handlers`."""
    # A separate app: with an OpenAPI config, the server's app would also serve documentation
    # pages that load scripts from a CDN.
    config = OpenAPIConfig(title="hitrate", version=__version__)
    copies = [copy(handler) for handler in handlers]
    app = Litestar(copies, dependencies=dependencies, openapi_config=config)
    generated = app.openapi_schema.to_schema()
    contract = load_contract()
    handlers_by_id = {handler.operation_id: handler for handler in handlers}
    for path in generated["paths"].values():
        for operation in path.values():
            _enrich_operation(operation, handlers_by_id[operation["operationId"]])
    generated["paths"] = {**contract["paths"], **generated["paths"]}
    components = generated.setdefault("components", {})
    components.setdefault("schemas", {}).update(_request_schemas(app))
    for kind, definitions in contract["components"].items():
        components.setdefault(kind, {}).update(definitions)
    return generated


def _enrich_operation(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    """Add what Litestar does not generate: error responses, the summary from the handler's
    docstring, and content types other than JSON."""
    operation["responses"].pop("400", None)
    operation["responses"]["default"] = _ERROR_RESPONSE
    function: Any = handler.fn
    while isinstance(function, AsyncCallable):
        function = function.func
    if docstring := getdoc(function):
        operation["summary"] = " ".join(docstring.split())
    if content_types := handler.opt.get("content_types"):
        operation["responses"]["200"]["content"] = {
            name: {"schema": {"type": "string"}} for name in content_types
        }


def _request_schemas(app: Litestar) -> dict[str, Any]:
    """Return msgspec's schemas of request bodies, which forbid unknown fields."""
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    fields = [h.parsed_data_field for route in routes for h in route.route_handlers]
    annotations = {field.annotation for field in fields if field}
    structs = [
        annotation
        for annotation in annotations
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
    ]
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return schemas
