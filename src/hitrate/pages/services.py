"""What the routes of this room share: the parts, and how a form is received."""

from dataclasses import dataclass
from typing import Any

from litestar.exceptions import HTTPException

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import SessionGuard
from hitrate.auth.password_login import PasswordAuthenticator
from hitrate.auth.sessions import SESSION_S, OneTimeStore, Session, Sessions
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import RequestError
from hitrate.http.cookies import BROWSER, SESSION, Connection, Site, form_token
from hitrate.http.forms import FORM_MOST_BYTES, Form
from hitrate.http.html import HtmlRenderer, Page
from hitrate.http.redirects import safe_redirect


@dataclass(frozen=True, slots=True)
class PageServices:
    """The parts that routes work with."""

    settings: Settings
    accounts: AccountStore
    authorizer: Authorizer
    clock: Clock
    sessions: Sessions
    one_time_store: OneTimeStore
    password_login: PasswordAuthenticator
    site: Site
    pages: HtmlRenderer
    signed_in: SessionGuard

    @property
    def provider_name(self) -> str | None:
        """What the button says; None without an identity provider."""
        return self.settings.oidc_name if self.settings.oidc_issuer else None

    @property
    def page(self) -> dict[str, Any]:
        """What every handler of a page is made with."""
        refused = {RequestError: self.pages.refused, HTTPException: self.pages.framework_refused}
        return {
            "include_in_schema": False,
            "exception_handlers": refused,
            "request_max_body_size": FORM_MOST_BYTES,
        }

    def form(self, connection: Connection, body: bytes, secret: str | None) -> Form:
        """A form that came from a page made for whoever has the secret. Raises RequestError."""
        form = Form(body)
        self.site.check_form(connection, secret, form.one("form_token"))
        return form

    def show(self, session: Session, template: str, **values: Any) -> Page:
        """A page for somebody who is signed in."""
        return self.pages.show(
            template, user=session.user, form_token=form_token(session.secret), **values
        )

    def welcome(self, connection: Connection, session: Session, wanted: str | None) -> Page:
        """Send a browser in which somebody just signed in where it wanted to go."""
        self.sessions.delete(self.site.secret(connection, SESSION))
        cookies = [
            self.site.cookie(connection, SESSION, session.secret, SESSION_S),
            self.site.without(connection, BROWSER),
        ]
        return self.pages.send(safe_redirect(wanted), cookies)
