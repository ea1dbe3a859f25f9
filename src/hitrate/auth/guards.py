"""Litestar guards: the permission that a handler declares, checked for tokens and sessions."""

from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import urlencode

from litestar.concurrency import sync_to_thread
from litestar.handlers import BaseRouteHandler

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import AuthContext, Permission, Token
from hitrate.auth.sessions import Session, Sessions
from hitrate.errors import LoginRequired
from hitrate.http.cookies import SESSION_COOKIE, SecureCookies
from hitrate.http.litestar import AnyConnection
from hitrate.http.redirects import path_and_query


def current_auth(connection: AnyConnection) -> AuthContext:
    """Authorize the request again and return its context. For routes that act in a team.

    Raises Unauthorized or Forbidden if it is no longer permitted.
    """
    return cast("AuthContext", connection.state.authorize())


def authenticated_token(connection: AnyConnection) -> Token:
    """Authenticate the request again and return its token. For routes that act in no team.

    Raises Unauthorized or Forbidden if it is no longer permitted.
    """
    return cast("Token", connection.state.authorize())


class SessionAuthenticator:
    """Finds the login session of a browser."""

    def __init__(self, sessions: Sessions, cookies: SecureCookies) -> None:
        self._sessions = sessions
        self._cookies = cookies

    def find(self, connection: AnyConnection) -> Session | None:
        """Return the session; None if the browser is not logged in."""
        return self._sessions.find(self._cookies.get(connection, SESSION_COOKIE))

    def require(self, connection: AnyConnection) -> Session:
        """Return the session. Raises LoginRequired if the browser is not logged in."""
        session = self.find(connection)
        if session is None:
            raise LoginRequired(_login_url(connection))
        return session


class PermissionGuard:
    """App-wide guard: requires the permission that the handler declares.

    A handler declares it as `@get(path, permission=Permission.MEMBERS)`. A route in a team names
    the team in its path, as `{team}`, or in the query. The guard stores the check on
    `connection.state`, and `current_auth` and `authenticated_token` repeat it: a body may take long
    to arrive, and its sender may have lost the permission by then.

    A handler may also declare `precheck=`, a function of the connection that runs first.

    Checks read the database, so they run on a handler thread. Public routes need none: liveness
    probes and the login page respond even while all handler threads are busy.

    Raises Unauthorized, Forbidden, LoginRequired, or the error of the precheck.
    """

    def __init__(self, authorizer: Authorizer, session_authenticator: SessionAuthenticator) -> None:
        self._authorizer = authorizer
        self._session_authenticator = session_authenticator

    async def __call__(self, connection: AnyConnection, handler: BaseRouteHandler) -> None:
        permission = handler.opt.get("permission")
        precheck = handler.opt.get("precheck")
        if precheck is not None or permission not in (None, Permission.PUBLIC):
            await sync_to_thread(self._require, connection, permission, precheck)

    def _require(
        self,
        connection: AnyConnection,
        permission: Permission | None,
        precheck: Callable[[AnyConnection], object] | None,
    ) -> None:
        if precheck is not None:
            precheck(connection)
        if permission is None or permission is Permission.PUBLIC:
            return
        if permission is Permission.SESSION:
            connection.state.session = self._session_authenticator.require(connection)
        elif permission is Permission.OPERATOR:
            self._authorizer.authorize_operator(_authorization(connection))
        else:
            connection.state.authorize = self._check(connection, permission)
            connection.state.authorize()

    def _check(
        self, connection: AnyConnection, permission: Permission
    ) -> Callable[[], AuthContext | Token]:
        authorization = _authorization(connection)
        if permission in (Permission.PROFILE, Permission.ACCOUNT):
            return partial(self._authorizer.authenticate_for, authorization, permission)
        query_string = connection.scope["query_string"]
        in_path = connection.path_params.get("team")
        return partial(self._authorizer.authorize, authorization, query_string, permission, in_path)


def current_session(connection: AnyConnection) -> Session:
    """Return the session of a request to a handler with `Permission.SESSION`."""
    return cast("Session", connection.state.session)


def _authorization(connection: AnyConnection) -> bytes | None:
    header = connection.headers.get("authorization")
    return None if header is None else header.encode("latin-1")


def _login_url(connection: AnyConnection) -> str:
    """Return the URL of the login page; after a GET request it leads back to the requested page."""
    if connection.scope.get("method") != "GET":
        return "/login"
    return "/login?" + urlencode({"next": path_and_query(connection)})
