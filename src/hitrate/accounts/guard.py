"""The gate as the framework's routes use it: `guards=[needs(Access.READ)]`."""

from functools import partial
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from hitrate.accounts.gate import Gate
from hitrate.accounts.model import Access, Grant, Token

Connection = ASGIConnection[Any, Any, Any, Any]


class Needs:
    """A guard that admits what the gate admits. A route names its team by the path's `{team}`.

    With the request it leaves a way to ask again, for `grant_of` and `token_of`: a body may take
    its time to arrive, and whoever sends it may have lost the permission by then.
    """

    def __init__(self, gate: Gate, access: Access) -> None:
        self._gate = gate
        self.access = access

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        header = connection.headers.get("authorization")
        authorization = None if header is None else header.encode("latin-1")
        if self.access is Access.OPERATOR:
            self._gate.admit_operator(authorization)
        elif self.access in (Access.PROFILE, Access.ACCOUNT):
            connection.state.ask = partial(self._gate.identify_for, authorization, self.access)
            connection.state.ask()
        else:
            query_string = connection.scope["query_string"]
            in_path = connection.path_params.get("team")
            connection.state.ask = partial(
                self._gate.admit, authorization, query_string, self.access, in_path
            )
            connection.state.ask()


def grant_of(connection: Connection) -> Grant:
    """What the request may do now. Raises Unauthorized or Forbidden when it no longer may."""
    return cast("Grant", connection.state.ask())


def token_of(connection: Connection) -> Token:
    """The token, still valid, on a route that acts in no team. Raises Unauthorized or Forbidden."""
    return cast("Token", connection.state.ask())
