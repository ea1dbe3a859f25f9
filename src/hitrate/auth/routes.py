"""Routes of the hot paths, each with the permission it needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hitrate.auth.models import AuthContext, Permission
from hitrate.http.asgi import Request, Response

Handler = Callable[[Request, AuthContext], Awaitable[Response]]
PublicHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. A path that ends in `/{hash}` takes any text there, `/` included."""

    method: str
    path: str
    operation: str
    permission: Permission
    handler: Handler


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """One operation that anyone may call."""

    method: str
    path: str
    operation: str
    handler: PublicHandler
    permission: Permission = Permission.PUBLIC


AnyRoute = Route | PublicRoute
