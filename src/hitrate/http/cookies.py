"""Cookies that scripts cannot read and other sites' forms do not send."""

import secrets

from litestar.datastructures import Cookie

from hitrate.http.litestar import AnyConnection
from hitrate.http.redirects import PublicUrl

SESSION_COOKIE = "hitrate_session"
BROWSER_COOKIE = "hitrate_browser"
BROWSER_COOKIE_TTL_S = 3600
"""Before login, this cookie binds forms and login flows to one browser."""


class SecureCookies:
    """Reads and creates the server's cookies; over TLS their names get the prefix `__Host-`."""

    def __init__(self, public_url: PublicUrl) -> None:
        self._public_url = public_url

    def get(self, connection: AnyConnection, name: str) -> str | None:
        """Return the value of a cookie; None if it is missing or empty."""
        return connection.cookies.get(self._full_name(connection, name)) or None

    def create(self, connection: AnyConnection, name: str, value: str, lifetime_s: int) -> Cookie:
        """Create a cookie for a response."""
        return Cookie(
            key=self._full_name(connection, name),
            value=value,
            max_age=lifetime_s,
            path="/",
            secure=self._public_url.is_https(connection),
            httponly=True,
            samesite="lax",
        )

    def expire(self, connection: AnyConnection, name: str) -> Cookie:
        """Create the cookie that makes a browser delete the one of this name."""
        return self.create(connection, name, "", 0)

    def browser_secret(self, connection: AnyConnection) -> tuple[str, Cookie]:
        """Return the secret of a browser that is not logged in, and the cookie that keeps it."""
        secret = self.get(connection, BROWSER_COOKIE) or secrets.token_urlsafe(32)
        return secret, self.create(connection, BROWSER_COOKIE, secret, BROWSER_COOKIE_TTL_S)

    def _full_name(self, connection: AnyConnection, name: str) -> str:
        # The prefix stops other hosts of the same domain from setting the cookie. Browsers accept
        # it over TLS only.
        return f"__Host-{name}" if self._public_url.is_https(connection) else name
