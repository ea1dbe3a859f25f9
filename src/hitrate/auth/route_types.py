"""Types of the routes that the router serves, each with the permission that it requires."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hitrate.auth.models import AuthContext, Permission
from hitrate.http.asgi import Request, Response

Handler = Callable[[Request, AuthContext], Awaitable[Response]]
PublicHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """An operation. The `{hash}` at the end of a path matches any text, including `/`."""

    method: str
    path: str
    operation: str
    permission: Permission
    handler: Handler


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """An operation that requires no token."""

    method: str
    path: str
    operation: str
    handler: PublicHandler
    permission: Permission = Permission.PUBLIC


AnyRoute = Route | PublicRoute
