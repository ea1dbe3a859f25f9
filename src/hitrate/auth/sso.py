"""Signing in at the identity provider: `/login/sso`, there and back.

What is begun in one browser ends in it: the state waits for ten minutes, works once, and only with
the cookie of who began.
"""

import hmac
import secrets

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from hitrate.auth.id_token import Person
from hitrate.auth.models import SINGLE_SIGN_ON
from hitrate.auth.oidc import Provider
from hitrate.auth.token_secrets import digest
from hitrate.errors import BadRequest, Forbidden, RequestError, ServiceUnavailable
from hitrate.http.cookies import BROWSER
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.redirects import safe_redirect
from hitrate.pages.services import PageServices
from hitrate.roles import Role
from hitrate.teams.models import Actor, Team, User

CALLBACK = "/login/sso/callback"
_KIND = "sso"
_WAIT_S = 10 * 60

_OVER = (
    "This sign-in is over: it took longer than ten minutes, was used before, or began in another "
    "browser. Start again."
)


class Begun(msgspec.Struct):
    """A sign-in that waits for the provider's answer."""

    browser: str
    nonce: str
    verifier: str
    next: str


class SingleSignOn:
    """The flow, and whom it lets in."""

    def __init__(self, desk: PageServices, provider: Provider) -> None:
        self._desk = desk
        self._provider = provider

    def begin(self, request: AnyRequest, wanted: str | None) -> Page:
        """Send the browser to the provider, and afterwards where it wanted to go."""
        browser, cookie = self._desk.site.browser(request)
        begun = Begun(
            browser=_bound(browser),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            next=safe_redirect(wanted),
        )
        state = self._desk.one_time_store.put(_KIND, begun, _WAIT_S)
        url = self._provider.authorization_url(
            self._callback(request), state=state, nonce=begun.nonce, verifier=begun.verifier
        )
        return self._desk.pages.send(url, [cookie])

    def finish(self, request: AnyRequest) -> Page:
        """Take the provider's answer. Raises RequestError, and then nobody is signed in."""
        try:
            begun, user = self._admit(request)
        except RequestError:
            self._desk.password_login.count_failure()
            raise
        return self._desk.welcome(request, self._desk.sessions.create(user), begun.next)

    def _admit(self, request: AnyRequest) -> tuple[Begun, User]:
        query = request.query_params
        browser = self._desk.site.secret(request, BROWSER)
        begun = self._desk.one_time_store.pop(_KIND, query.get("state", ""), Begun)
        if begun is None or browser is None or not _same(begun.browser, _bound(browser)):
            raise BadRequest(_OVER)
        name, error, code = self._desk.settings.oidc_name, query.get("error"), query.get("code")
        if error == "access_denied":
            raise Forbidden(f"Signing in with {name} was cancelled. Nobody is signed in.")
        if error is not None or not code:
            raise Forbidden(f"Signing in with {name} did not work; start again.")
        person = self._provider.person(
            code,
            self._callback(request),
            nonce=begun.nonce,
            verifier=begun.verifier,
            issuer=query.get("iss"),
        )
        return begun, self._known(person)

    def _known(self, person: Person) -> User:
        """The person here. Raises Forbidden for strangers and who is disabled."""
        user = self._desk.accounts.users.find(person.email) or self._make(person)
        self._join(user)
        if user.disabled_at_ms is not None:
            raise Forbidden(f"The account of {user.email} is disabled; an operator can enable it.")
        return user

    def _make(self, person: Person) -> User:
        if self._desk.settings.oidc_join is None:
            raise Forbidden(
                f"{person.email} has no account on this server. Ask its operator to make one, with "
                "`hitrate user create`."
            )
        self._team_to_join()
        return self._desk.accounts.users.create(person.email, person.name, actor=SINGLE_SIGN_ON)

    def _join(self, user: User) -> None:
        """Have somebody who came this way and is in no team yet join the one for newcomers."""
        join, members = self._desk.settings.oidc_join, self._desk.accounts.members
        if join is not None and not user.has_password and not members.list_for_user(user):
            actor = Actor.from_user(user)
            members.add(self._team_to_join(), user, Role(join[1]), actor)

    def _team_to_join(self) -> Team:
        join = self._desk.settings.oidc_join
        team = None if join is None else self._desk.accounts.teams.find(slug=join[0])
        if team is None:
            raise ServiceUnavailable(
                "The team that new people join is not there; tell the operator."
            )
        return team

    def _callback(self, request: AnyRequest) -> str:
        return self._desk.site.url(request) + CALLBACK


def _bound(browser: str) -> str:
    return digest(browser.encode()).hex()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one, other)


def sso_api(desk: PageServices, sso: SingleSignOn) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/login/sso", **desk.page)
    @run_in_thread
    def begin(request: AnyRequest) -> Page:
        return sso.begin(request, request.query_params.get("next"))

    @get(CALLBACK, **desk.page)
    @run_in_thread
    def finish(request: AnyRequest) -> Page:
        return sso.finish(request)

    return [begin, finish]
