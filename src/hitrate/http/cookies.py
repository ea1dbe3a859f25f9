"""Where this server is, as browsers see it: its address, its cookies, and which requests came from
its own pages."""

import hashlib
import hmac
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from hitrate.errors import BadRequest, Forbidden
from hitrate.http.redirects import origin

Connection = ASGIConnection[Any, Any, Any, Any]

SESSION = "hitrate_session"
BROWSER = "hitrate_browser"
BROWSER_S = 3600
"""Before somebody is signed in, a cookie says no more than that it is the same browser still."""

_OUT_OF_DATE = (
    "This form is out of date, or it was not sent from a page of this server. "
    "Go back, load the page again and send it once more."
)


class Site:
    """`public_url` is the operator's word for where the server is; without it requests tell."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url

    def url(self, connection: Connection) -> str:
        """Scheme, host and port. Raises BadRequest where a request says nothing useful."""
        if self._public_url:
            return self._public_url
        host = connection.headers.get("host", "")
        if not re.fullmatch(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", host):
            raise BadRequest("The header Host names no host.")
        return f"{connection.scope['scheme']}://{host}"

    def cookie(self, connection: Connection, name: str, value: str, lifetime_s: int) -> Cookie:
        """A cookie that scripts cannot read and other sites' forms do not send."""
        return Cookie(
            key=self._named(connection, name),
            value=value,
            max_age=lifetime_s,
            path="/",
            secure=self._secure(connection),
            httponly=True,
            samesite="lax",
        )

    def without(self, connection: Connection, name: str) -> Cookie:
        """What makes a browser forget the cookie."""
        return self.cookie(connection, name, "", 0)

    def secret(self, connection: Connection, name: str) -> str | None:
        """What the browser brought, if anything."""
        return connection.cookies.get(self._named(connection, name)) or None

    def browser(self, connection: Connection) -> tuple[str, Cookie]:
        """The secret of a browser in which nobody is signed in, and the cookie that keeps it."""
        secret = self.secret(connection, BROWSER) or secrets.token_urlsafe(32)
        return secret, self.cookie(connection, BROWSER, secret, BROWSER_S)

    def check_form(self, connection: Connection, secret: str | None, token: str) -> None:
        """Raises Forbidden unless a form came from our page, made for whoever has the secret."""
        # "null" is what browsers send for our own forms: our pages forbid to tell who referred.
        sender = connection.headers.get("origin", "null")
        fetched = connection.headers.get("sec-fetch-site", "same-origin")
        if fetched not in ("same-origin", "none") or (
            sender != "null" and urlsplit(sender).netloc not in self._hosts(connection)
        ):
            raise Forbidden("This was sent from a page of another site, so nothing was done.")
        if secret is None or not hmac.compare_digest(form_token(secret).encode(), token.encode()):
            raise Forbidden(_OUT_OF_DATE)

    def _hosts(self, connection: Connection) -> set[str]:
        hosts = {connection.headers.get("host", ""), urlsplit(self._public_url).netloc}
        return hosts - {""}

    def _secure(self, connection: Connection) -> bool:
        return connection.scope["scheme"] == "https" or origin(self._public_url).startswith(
            "https:"
        )

    def _named(self, connection: Connection, name: str) -> str:
        # The prefix keeps neighbouring hosts from planting one; browsers allow it under TLS only.
        return f"__Host-{name}" if self._secure(connection) else name


def form_token(secret: str) -> str:
    """What a form carries to show that it was made for whoever has this cookie's secret."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()
