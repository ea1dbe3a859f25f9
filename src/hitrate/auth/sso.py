"""Single sign-on: the login flow at the identity provider, and which users it admits.

A flow ends in the browser in which it began: its state is valid for ten minutes, once, and only
together with the browser's cookie.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import SINGLE_SIGN_ON
from hitrate.auth.sessions import OneTimeStore
from hitrate.auth.tokens import digest
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest, Forbidden, ServiceUnavailable
from hitrate.http.redirects import safe_redirect
from hitrate.roles import Role
from hitrate.teams.models import Actor, Team, User

if TYPE_CHECKING:
    from hitrate.auth.oidc import OidcIdentity, OidcProvider

_KIND = "sso"
_LOGIN_TTL_S = 10 * 60

_EXPIRED = (
    "This login has expired: it took longer than ten minutes, was already used, or began in "
    "another browser. Start again."
)


class PendingLogin(msgspec.Struct):
    """A login flow that waits for the provider's response."""

    browser: str
    nonce: str
    verifier: str
    next: str


class CompletedLogin(NamedTuple):
    """An authenticated user, and the path to continue at."""

    user: User
    next_path: str


class SingleSignOn:
    """Starts and finishes login flows. Safe to use from several threads and processes."""

    def __init__(
        self,
        settings: Settings,
        provider: "OidcProvider",
        accounts: AccountStore,
        one_time_store: OneTimeStore,
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._accounts = accounts
        self._one_time_store = one_time_store

    def start(self, browser_secret: str, callback_url: str, next_url: str | None) -> str:
        """Start a flow in a browser and return the provider's URL to send it to.

        Raises ServiceUnavailable.
        """
        pending = PendingLogin(
            browser=_browser_id(browser_secret),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            next=safe_redirect(next_url),
        )
        state = self._one_time_store.put(_KIND, pending, _LOGIN_TTL_S)
        return self._provider.authorization_url(
            callback_url, state=state, nonce=pending.nonce, verifier=pending.verifier
        )

    def finish(
        self, browser_secret: str | None, callback_url: str, parameters: Mapping[str, str]
    ) -> CompletedLogin:
        """Finish a flow with the query parameters that the provider sent to the callback.

        Creates the user, and adds them to a team, if the settings say so. Raises BadRequest,
        Forbidden or ServiceUnavailable.
        """
        state = parameters.get("state", "")
        pending = self._one_time_store.pop(_KIND, state, PendingLogin)
        if (
            pending is None
            or browser_secret is None
            or not hmac.compare_digest(pending.browser, _browser_id(browser_secret))
        ):
            raise BadRequest(_EXPIRED)
        name, error = self._settings.oidc_name, parameters.get("error")
        code = parameters.get("code")
        if error == "access_denied":
            raise Forbidden(f"Signing in with {name} was cancelled.")
        if error is not None or not code:
            raise Forbidden(f"Signing in with {name} failed. Start again.")
        identity = self._provider.authenticate(
            code,
            callback_url,
            nonce=pending.nonce,
            verifier=pending.verifier,
            issuer=parameters.get("iss"),
        )
        return CompletedLogin(self._user_for(identity), pending.next)

    def _user_for(self, identity: "OidcIdentity") -> User:
        user = self._accounts.users.find(identity.email) or self._create_user(identity)
        self._join_default_team(user)
        if user.disabled_at_ms is not None:
            raise Forbidden(f"The account {user.email} is disabled. The operator can enable it.")
        return user

    def _create_user(self, identity: "OidcIdentity") -> User:
        if self._settings.oidc_join is None:
            raise Forbidden(
                f"{identity.email} has no account on this server. Ask its operator to create one "
                "with `hitrate user create`."
            )
        self._default_team()  # raises before the account is created
        return self._accounts.users.create(identity.email, identity.name, actor=SINGLE_SIGN_ON)

    def _join_default_team(self, user: User) -> None:
        """Add a user without a password and without a team to the team that newcomers join."""
        join, members = self._settings.oidc_join, self._accounts.members
        if join is not None and not user.has_password and not members.list_for_user(user):
            actor = Actor.from_user(user)
            members.add(self._default_team(), user, Role(join[1]), actor)

    def _default_team(self) -> Team:
        join = self._settings.oidc_join
        team = None if join is None else self._accounts.teams.find(slug=join[0])
        if team is None:
            raise ServiceUnavailable(
                "The team that new users join does not exist. Ask the operator to create it."
            )
        return team


def create_single_sign_on(
    settings: Settings, accounts: AccountStore, one_time_store: OneTimeStore, clock: Clock
) -> SingleSignOn | None:
    """Create the flow for the configured identity provider; None if none is configured."""
    if not settings.oidc_issuer:
        return None
    # Imported here: most servers have no provider, and need neither httpx nor joserfc.
    from hitrate.auth.oidc import OidcProvider

    provider = OidcProvider(
        settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret, clock
    )
    return SingleSignOn(settings, provider, accounts, one_time_store)


def provider_name(settings: Settings) -> str | None:
    """Return the display name of the identity provider; None if none is configured."""
    return settings.oidc_name if settings.oidc_issuer else None


def _browser_id(secret: str) -> str:
    return digest(secret.encode()).hex()
