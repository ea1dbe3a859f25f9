"""What the routes of this room share: the parts, and how a form is received."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qs

from anyio import to_thread
from litestar.exceptions import HTTPException

from hitrate.accounts.gate import Gate
from hitrate.accounts.model import Actor
from hitrate.accounts.store import AccountStore
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest, Refused
from hitrate.login.addresses import safe_next
from hitrate.login.doorman import Doorman
from hitrate.login.guard import SignedIn
from hitrate.login.pages import Page, Pages
from hitrate.login.sessions import SESSION_S, Session, Sessions, Waiting
from hitrate.login.site import BROWSER, SESSION, Connection, Site, form_token

FORM_MOST_BYTES = 64 * 1024
_FIELDS_MOST = 50

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

SINGLE_SIGN_ON = Actor("system", "single-sign-on", "single sign-on")
"""Who makes a person whom the identity provider vouches for."""


class Form:
    """What a person filled in."""

    def __init__(self, body: bytes) -> None:
        try:
            self._fields = parse_qs(
                body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MOST
            )
        except ValueError as error:  # not UTF-8, or too many fields
            raise BadRequest("This is not a form of this server.") from error

    def one(self, name: str) -> str:
        """A field's value, empty when it was not sent."""
        return self._fields.get(name, [""])[-1]

    def many(self, name: str) -> list[str]:
        """All values of a field."""
        return self._fields.get(name, [])


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts that routes work with."""

    settings: Settings
    accounts: AccountStore
    gate: Gate
    clock: Clock
    sessions: Sessions
    waiting: Waiting
    doorman: Doorman
    site: Site
    pages: Pages
    signed_in: SignedIn

    @property
    def provider_name(self) -> str | None:
        """What the button says; None without an identity provider."""
        return self.settings.oidc_name if self.settings.oidc_issuer else None

    @property
    def page(self) -> dict[str, Any]:
        """What every handler of a page is made with."""
        refused = {Refused: self.pages.refused, HTTPException: self.pages.framework_refused}
        return {
            "include_in_schema": False,
            "exception_handlers": refused,
            "request_max_body_size": FORM_MOST_BYTES,
        }

    def form(self, connection: Connection, body: bytes, secret: str | None) -> Form:
        """A form that came from a page made for whoever has the secret. Raises Refused."""
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
        self.sessions.end(self.site.secret(connection, SESSION))
        cookies = [
            self.site.cookie(connection, SESSION, session.secret, SESSION_S),
            self.site.without(connection, BROWSER),
        ]
        return self.pages.send(safe_next(wanted), cookies)


def in_thread(handler: Callable[Arguments, Answer]) -> Callable[Arguments, Awaitable[Answer]]:
    """The handler of a page, on a thread.

    The framework's own `sync_to_thread` wraps a handler again for each method that its path has,
    and then a `Response` never comes out.
    """

    @wraps(handler)
    async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return await to_thread.run_sync(partial(handler, *args, **kwargs))

    return run
