"""The guard of pages: who is not signed in goes to the sign-in page and comes back."""

from typing import cast
from urllib.parse import urlencode

from litestar.handlers import BaseRouteHandler

from hitrate.accounts.model import Access
from hitrate.errors import Unauthorized
from hitrate.login.sessions import Session, Sessions
from hitrate.login.site import SESSION, Connection, Site


class SignInNeeded(Unauthorized):
    """Nobody is signed in; `sign_in` is where to do so, and leads back here."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("Nobody is signed in; open /login in a browser.")
        self.sign_in = "/login"
        if connection.scope.get("method") == "GET":
            self.sign_in += "?" + urlencode({"next": here(connection)})


class SignedIn:
    """A guard that leaves the session with the request. Raises SignInNeeded."""

    access = Access.SESSION

    def __init__(self, sessions: Sessions, site: Site) -> None:
        self._sessions = sessions
        self._site = site

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        connection.state.session = self.session(connection)

    def find(self, connection: Connection) -> Session | None:
        """Who is signed in, if anybody."""
        return self._sessions.find(self._site.secret(connection, SESSION))

    def session(self, connection: Connection) -> Session:
        """Who is signed in. Raises SignInNeeded."""
        session = self.find(connection)
        if session is None:
            raise SignInNeeded(connection)
        return session


def here(connection: Connection) -> str:
    """Path and query of a request."""
    query = connection.scope["query_string"].decode("latin-1")
    path: str = connection.scope["path"]
    return f"{path}?{query}" if query else path


def session_of(connection: Connection) -> Session:
    """The session that the guard left."""
    return cast("Session", connection.state.session)
