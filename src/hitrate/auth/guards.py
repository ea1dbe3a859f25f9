"""The authorizer as the framework's routes use it: `guards=[needs(Permission.READ)]`.

The guard of pages: who is not signed in goes to the sign-in page and comes back.
"""

from functools import partial
from typing import cast
from urllib.parse import urlencode

from litestar.handlers import BaseRouteHandler

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import AuthContext, Permission, Token
from hitrate.auth.sessions import Session, Sessions
from hitrate.errors import LoginRequired
from hitrate.http.cookies import SESSION, Connection, Site


class RequirePermission:
    """A guard that requires a permission. A route names its team by the path's `{team}`.

    With the request it leaves a way to ask again, for `current_auth` and
    `authenticated_token`: a body may take its time to arrive, and whoever
    sends it may have lost the permission by then.
    """

    def __init__(self, authorizer: Authorizer, permission: Permission) -> None:
        self._authorizer = authorizer
        self.permission = permission

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        header = connection.headers.get("authorization")
        authorization = None if header is None else header.encode("latin-1")
        if self.permission is Permission.OPERATOR:
            self._authorizer.authorize_operator(authorization)
        elif self.permission in (Permission.PROFILE, Permission.ACCOUNT):
            connection.state.ask = partial(
                self._authorizer.authenticate_for, authorization, self.permission
            )
            connection.state.ask()
        else:
            query_string = connection.scope["query_string"]
            in_path = connection.path_params.get("team")
            connection.state.ask = partial(
                self._authorizer.authorize, authorization, query_string, self.permission, in_path
            )
            connection.state.ask()


def current_auth(connection: Connection) -> AuthContext:
    """What the request may do now. Raises Unauthorized or Forbidden when it no longer may."""
    return cast("AuthContext", connection.state.ask())


def authenticated_token(connection: Connection) -> Token:
    """The token, still valid, on a route that acts in no team. Raises Unauthorized or Forbidden."""
    return cast("Token", connection.state.ask())


class PermissionGuard:
    """App-wide guard: admits a caller who has the permission that the handler declares.

    A handler declares it as `@get(path, permission=Permission.MEMBERS)`. A route in a team names
    the team in its path, as `{team}`, or in the query. The guard leaves a check on
    `connection.state` that `current_auth` and `authenticated_token` repeat: a body may take long
    to arrive, and its sender may have lost the permission by then.

    Raises Unauthorized, Forbidden, or LoginRequired.
    """

    def __init__(self, authorizer: Authorizer, session_guard: "SessionGuard") -> None:
        self._authorizer = authorizer
        self._session_guard = session_guard

    def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        permission = handler.opt.get("permission")
        if permission is None or permission is Permission.PUBLIC:
            return
        if permission is Permission.SESSION:
            self._session_guard(connection, handler)
        else:
            RequirePermission(self._authorizer, permission)(connection, handler)


class SessionGuard:
    """A guard that leaves the session with the request. Raises LoginRequired."""

    permission = Permission.SESSION

    def __init__(self, sessions: Sessions, site: Site) -> None:
        self._sessions = sessions
        self._site = site

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        connection.state.session = self.session(connection)

    def find(self, connection: Connection) -> Session | None:
        """Who is signed in, if anybody."""
        return self._sessions.find(self._site.secret(connection, SESSION))

    def session(self, connection: Connection) -> Session:
        """Who is signed in. Raises LoginRequired."""
        session = self.find(connection)
        if session is None:
            raise LoginRequired(_login_url(connection))
        return session


def _login_url(connection: Connection) -> str:
    """The sign-in page; after a GET it leads back to the requested page."""
    if connection.scope.get("method") != "GET":
        return "/login"
    return "/login?" + urlencode({"next": here(connection)})


def here(connection: Connection) -> str:
    """Path and query of a request."""
    query = connection.scope["query_string"].decode("latin-1")
    path: str = connection.scope["path"]
    return f"{path}?{query}" if query else path


def current_session(connection: Connection) -> Session:
    """The session that the guard left."""
    return cast("Session", connection.state.session)
