"""The gate as the framework's routes use it: `guards=[needs(Access.READ)]`."""

from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from hitrate.accounts.gate import Gate
from hitrate.accounts.model import Access, Grant

Connection = ASGIConnection[Any, Any, Any, Any]


class Needs:
    """A guard that admits what the gate admits, and leaves the grant with the request."""

    def __init__(self, gate: Gate, access: Access) -> None:
        self._gate = gate
        self.access = access

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        header = connection.headers.get("authorization")
        authorization = None if header is None else header.encode("latin-1")
        if self.access is Access.OPERATOR:
            self._gate.admit_operator(authorization)
        else:
            query_string = connection.scope["query_string"]
            connection.state.grant = self._gate.admit(authorization, query_string, self.access)


def grant_of(connection: Connection) -> Grant:
    """The grant that the guard left."""
    return cast("Grant", connection.state.grant)
