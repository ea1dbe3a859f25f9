"""The account page: a user's teams, tokens and password."""

from collections.abc import Mapping
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission, Scope, Token
from hitrate.auth.password_login import PasswordAuthenticator
from hitrate.auth.permissions import READ_WRITE
from hitrate.auth.sessions import SESSION_TTL_S, Session, Sessions
from hitrate.auth.sso import provider_name
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest, NotFound, RateLimited
from hitrate.http.cookies import SESSION_COOKIE, SecureCookies
from hitrate.http.csrf import CsrfProtection, csrf_token
from hitrate.http.forms import Form
from hitrate.http.html import HtmlRenderer, Page
from hitrate.http.litestar import AnyRequest, run_in_page_thread
from hitrate.http.redirects import ACCOUNT_PATH
from hitrate.pages.token_forms import (
    DEFAULT_LIFETIME_DAYS,
    SCOPE_DESCRIPTIONS,
    parse_token_fields,
    split_by_validity,
)
from hitrate.teams.models import Team

_NOTICES = {"revoked": "Token revoked.", "password": "Password changed."}
_MAX_ECHO_LENGTH = 300


class AccountPage:
    """Renders the account page from the current content of the database."""

    def __init__(
        self, accounts: AccountStore, settings: Settings, clock: Clock, html: HtmlRenderer
    ) -> None:
        self._accounts = accounts
        self._settings = settings
        self._clock = clock
        self._html = html

    def render(
        self,
        session: Session,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Page:
        """Render the page of a user; `values` replace defaults, such as the form's fields."""
        tokens = self._accounts.tokens.list_for_user(session.user)
        tokens.sort(key=lambda token: token.created_at_ms, reverse=True)
        valid, inactive = split_by_validity(tokens, self._clock.now_ms())
        defaults: dict[str, Any] = {
            "members": self._accounts.members.list_for_user(session.user),
            "valid_tokens": valid,
            "inactive_tokens": inactive,
            "scopes": SCOPE_DESCRIPTIONS,
            "selected_scopes": READ_WRITE,
            "form": {"label": "", "team": "", "days": str(DEFAULT_LIFETIME_DAYS)},
            "provider": provider_name(self._settings),
            "notice": None,
            "token_problem": None,
            "password_problem": None,
        }
        return self._html.render(
            "account.html",
            status=status,
            headers=headers,
            user=session.user,
            form_token=csrf_token(session.secret),
            **(defaults | values),
        )


@get(ACCOUNT_PATH, permission=Permission.SESSION)
@run_in_page_thread
def show_account(request: AnyRequest, account_page: NamedDependency[AccountPage]) -> Page:
    notice = _NOTICES.get(request.query_params.get("done", ""))
    return account_page.render(current_session(request), notice=notice)


@post("/account/tokens", permission=Permission.SESSION)
@run_in_page_thread
def create_token(
    request: AnyRequest,
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    accounts: NamedDependency[AccountStore],
    account_page: NamedDependency[AccountPage],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session = current_session(request)
    form = csrf.parse_form(request, body, session.secret)
    try:
        token, secret = _create_token(accounts, session, form)
    except BadRequest as error:
        return account_page.render(
            session,
            status=400,
            token_problem=str(error),
            selected_scopes=form.many("scopes"),
            form={name: form.one(name)[:_MAX_ECHO_LENGTH] for name in ("label", "team", "days")},
        )
    return html.render(
        "token_created.html",
        layout="base.html",
        back_url=ACCOUNT_PATH,
        back_text="Back to your account",
        token=token,
        secret=secret,
        user=session.user,
        form_token=csrf_token(session.secret),
    )


@post("/account/tokens/{token:str}/revoke", permission=Permission.SESSION)
@run_in_page_thread
def revoke_token(
    request: AnyRequest,
    body: RawBody,
    token: FromPath[str],
    csrf: NamedDependency[CsrfProtection],
    accounts: NamedDependency[AccountStore],
    authorizer: NamedDependency[Authorizer],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session = current_session(request)
    csrf.parse_form(request, body, session.secret)
    for own_token in accounts.tokens.list_for_user(session.user):
        if own_token.id == token:
            accounts.tokens.revoke(own_token, session.actor)
            authorizer.invalidate_cache()
            return html.redirect(f"{ACCOUNT_PATH}?done=revoked")
    raise NotFound("You have no such token.")


@post("/account/password", permission=Permission.SESSION)
@run_in_page_thread
def change_password(
    request: AnyRequest,
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    accounts: NamedDependency[AccountStore],
    password_authenticator: NamedDependency[PasswordAuthenticator],
    sessions: NamedDependency[Sessions],
    secure_cookies: NamedDependency[SecureCookies],
    account_page: NamedDependency[AccountPage],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session = current_session(request)
    form = csrf.parse_form(request, body, session.secret)
    try:
        _change_password(accounts, password_authenticator, session, form)
    except RateLimited as error:
        return account_page.render(
            session,
            status=429,
            headers={"retry-after": str(error.retry_after_s)},
            password_problem=str(error),
        )
    except BadRequest as error:
        return account_page.render(session, status=400, password_problem=str(error))
    # The change has ended every session of the user; this browser continues in a new one.
    renewed = sessions.create(session.user)
    cookie = secure_cookies.create(request, SESSION_COOKIE, renewed.secret, SESSION_TTL_S)
    return html.redirect(f"{ACCOUNT_PATH}?done=password", [cookie])


def _create_token(accounts: AccountStore, session: Session, form: Form) -> tuple[Token, str]:
    """Create the token that a form describes and return it with its secret. Raises BadRequest."""
    fields = parse_token_fields(form, list(Scope))
    teams = [member.team for member in accounts.members.list_for_user(session.user)]
    return accounts.tokens.create(
        _find_team(form.one("team"), teams),
        fields.label,
        user=session.user,
        scopes=fields.scopes,
        lifetime_s=fields.lifetime_s,
        actor=session.actor,
    )


def _find_team(team_id: str, teams: list[Team]) -> Team | None:
    """Return the selected team; None if the form selects all teams. Raises BadRequest."""
    for team in teams:
        if team.id == team_id:
            return team
    if team_id:
        raise BadRequest("You are not a member of this team.")
    return None


def _change_password(
    accounts: AccountStore,
    password_authenticator: PasswordAuthenticator,
    session: Session,
    form: Form,
) -> None:
    """Change the password. Raises RequestError, without a change, if that is not possible."""
    user = session.user
    if not user.has_password:
        raise BadRequest("You sign in without a password.")
    if form.one("new") != form.one("again"):
        raise BadRequest("The new passwords do not match.")
    if password_authenticator.authenticate(user.email, form.one("old")) is None:
        raise BadRequest("The current password is wrong.")
    accounts.users.set_password(user, form.one("new"), session.actor)


HANDLERS = (show_account, create_token, revoke_token, change_password)
