"""The gate as the framework's routes use it: `guards=[needs(Access.READ)]`."""

from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from hitrate.accounts.gate import Gate
from hitrate.accounts.model import Access, Grant, Token

Connection = ASGIConnection[Any, Any, Any, Any]


class Needs:
    """A guard that admits what the gate admits, and leaves the token, and the grant where the
    route acts in a team, with the request. A route names its team by the path's `{team}`."""

    def __init__(self, gate: Gate, access: Access) -> None:
        self._gate = gate
        self.access = access

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        header = connection.headers.get("authorization")
        authorization = None if header is None else header.encode("latin-1")
        if self.access is Access.OPERATOR:
            self._gate.admit_operator(authorization)
        elif self.access in (Access.PROFILE, Access.ACCOUNT):
            connection.state.token = self._gate.identify_for(authorization, self.access)
        else:
            query_string = connection.scope["query_string"]
            in_path = connection.path_params.get("team")
            grant = self._gate.admit(authorization, query_string, self.access, in_path)
            connection.state.grant = grant


def grant_of(connection: Connection) -> Grant:
    """The grant that the guard left."""
    return cast("Grant", connection.state.grant)


def token_of(connection: Connection) -> Token:
    """The token that the guard left, on a route that acts in no team."""
    return cast("Token", connection.state.token)
