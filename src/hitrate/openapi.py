"""`/openapi.json`: the contract's operations from `contract.json`, ours from the framework."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig

from hitrate import __version__

_REFUSED = {
    "description": "The request was refused.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def contract() -> dict[str, Any]:
    """The hot routes' paths and components."""
    text = files("hitrate").joinpath("contract.json").read_bytes()
    document: dict[str, Any] = msgspec.json.decode(text)
    return document


def document(handlers: Sequence[HTTPRouteHandler]) -> dict[str, Any]:
    """Everything that the server serves: the contract's operations and those of `handlers`."""
    # An app of its own: one that serves would also serve documentation pages from a CDN.
    config = OpenAPIConfig(title="hitrate", version=__version__)
    ours = Litestar(list(handlers), openapi_config=config).openapi_schema.to_schema()
    theirs = contract()
    for path in ours["paths"].values():
        for operation in path.values():
            operation["responses"].pop("400", None)
            operation["responses"]["default"] = _REFUSED
    ours["paths"] = {**theirs["paths"], **ours["paths"]}
    components = ours.setdefault("components", {})
    for kind, named in theirs["components"].items():
        components.setdefault(kind, {}).update(named)
    return ours


def openapi_api(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The route of this room, which describes the others."""

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document(handlers))

    @get("/openapi.json", include_in_schema=False, sync_to_thread=True)
    def openapi() -> Response[bytes]:
        return Response(encoded(), media_type="application/json")

    return [openapi]
