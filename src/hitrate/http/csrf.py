"""Protection against cross-site request forgery: an origin check and a token in every form."""

import hashlib
import hmac
from urllib.parse import urlsplit

from hitrate.errors import Forbidden
from hitrate.http.forms import Form
from hitrate.http.litestar import AnyConnection
from hitrate.http.redirects import PublicUrl

_CROSS_SITE = "This form was sent from another site. Nothing was changed."
_EXPIRED = (
    "This form has expired, or it was not sent from a page of this server. "
    "Go back, reload the page and try again."
)


class CsrfProtection:
    """Accepts forms that come from the server's own pages."""

    def __init__(self, public_url: PublicUrl) -> None:
        self._public_url = public_url

    def parse_form(self, connection: AnyConnection, body: bytes, secret: str | None) -> Form:
        """Parse a form whose page was rendered for the holder of a cookie secret.

        Raises BadRequest if the body is not a form, Forbidden if the form came from elsewhere.
        """
        form = Form(body)
        self._check_origin(connection)
        if secret is None or not _equal(csrf_token(secret), form.one("form_token")):
            raise Forbidden(_EXPIRED)
        return form

    def _check_origin(self, connection: AnyConnection) -> None:
        # Browsers send the origin "null" for our own forms, because our pages set
        # `referrer-policy: no-referrer`.
        sender = connection.headers.get("origin", "null")
        fetch_site = connection.headers.get("sec-fetch-site", "same-origin")
        if fetch_site not in ("same-origin", "none") or (
            sender != "null" and urlsplit(sender).netloc not in self._public_url.hosts(connection)
        ):
            raise Forbidden(_CROSS_SITE)


def csrf_token(secret: str) -> str:
    """Return the token for forms that are rendered for the holder of a cookie secret."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
