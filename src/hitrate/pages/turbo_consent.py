"""Consent pages of `turbo login`: a logged-in user lets turbo on their computer use the cache.

`/turborepo/token` sends a token back to turbo. `/api/auth/sso`, for `turbo login --sso-team`, sends
back a verification token, which turbo exchanges at `/registration/verify` for a token of that team.
"""

from collections.abc import Sequence

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import RawBody

from hitrate.auth.accounts import AccountStore
from hitrate.auth.guards import SessionAuthenticator, current_session
from hitrate.auth.models import Permission
from hitrate.auth.sessions import Session
from hitrate.auth.sso import SingleSignOn
from hitrate.auth.turbo_login import Callback, TurboLogin
from hitrate.clock import Clock
from hitrate.http.cookies import SecureCookies
from hitrate.http.csrf import CsrfProtection, csrf_token
from hitrate.http.html import HtmlRenderer, Page, format_minute
from hitrate.http.litestar import AnyConnection, AnyRequest, run_in_page_thread
from hitrate.http.redirects import PublicUrl, origin, path_and_query
from hitrate.pages.login import redirect_to_provider
from hitrate.teams.models import Team

_AFTER_SSO = "https://vercel.com"
"""Where turbo sends the browser after `--sso-team`, whichever server it logged in to."""


def _callback(connection: AnyConnection) -> Callback:
    return Callback.from_query(connection.query_params, "redirect_uri")


def _team_callback(connection: AnyConnection) -> Callback:
    return Callback.from_query(connection.query_params, "next")


# The precheck refuses an invalid redirect_uri before it redirects to the login page.
@get("/turborepo/token", permission=Permission.SESSION, precheck=_callback)
@run_in_page_thread
def show_consent(
    request: AnyRequest,
    accounts: NamedDependency[AccountStore],
    turbo_login: NamedDependency[TurboLogin],
    clock: NamedDependency[Clock],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session = current_session(request)
    teams = [member.team for member in accounts.members.list_for_user(session.user)]
    return _consent_page(
        request, session, _callback(request), teams, _expiry(turbo_login, clock), html
    )


@post("/turborepo/token", permission=Permission.SESSION, precheck=_callback)
@run_in_page_thread
def submit_consent(
    request: AnyRequest,
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    turbo_login: NamedDependency[TurboLogin],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session, callback = current_session(request), _callback(request)
    form = csrf.parse_form(request, body, session.secret)
    if form.one("answer") != "allow":
        return _cancelled_page(session, html)
    token = turbo_login.create_token(session.user)
    return html.redirect(callback.with_parameters(token=token))


@get("/api/auth/sso", permission=Permission.PUBLIC)
@run_in_page_thread
def show_team_consent(
    request: AnyRequest,
    session_authenticator: NamedDependency[SessionAuthenticator],
    sso: NamedDependency[SingleSignOn | None],
    turbo_login: NamedDependency[TurboLogin],
    public_url: NamedDependency[PublicUrl],
    secure_cookies: NamedDependency[SecureCookies],
    clock: NamedDependency[Clock],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    callback = _team_callback(request)
    if sso is not None and session_authenticator.find(request) is None:
        next_url = path_and_query(request)
        return redirect_to_provider(request, sso, public_url, secure_cookies, html, next_url)
    # Ask for consent after a fresh login too: any other site could have sent the browser here.
    session = session_authenticator.require(request)
    team = turbo_login.find_team(session.user, request.query_params.get("teamId", ""))
    expiry = _expiry(turbo_login, clock)
    return _consent_page(request, session, callback, [team], expiry, html, [_AFTER_SSO])


@post("/api/auth/sso", permission=Permission.SESSION)
@run_in_page_thread
def submit_team_consent(
    request: AnyRequest,
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    turbo_login: NamedDependency[TurboLogin],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session, callback = current_session(request), _team_callback(request)
    form = csrf.parse_form(request, body, session.secret)
    if form.one("answer") != "allow":
        return _cancelled_page(session, html)
    team = turbo_login.find_team(session.user, request.query_params.get("teamId", ""))
    token = turbo_login.create_verification(session.user, team)
    return html.redirect(callback.with_parameters(token=token, email=session.user.email))


@get("/turborepo/success", permission=Permission.PUBLIC)
@run_in_page_thread
def show_success(html: NamedDependency[HtmlRenderer]) -> Page:
    return html.render("turbo_connected.html")


def _expiry(turbo_login: TurboLogin, clock: Clock) -> str | None:
    """Return when a token that is created now expires, formatted; None for never."""
    ttl_s = turbo_login.token_ttl_s
    return None if ttl_s is None else format_minute(clock.now_ms() + int(ttl_s * 1000))


def _consent_page(
    request: AnyRequest,
    session: Session,
    callback: Callback,
    teams: Sequence[Team],
    expiry: str | None,
    html: HtmlRenderer,
    onward_origins: Sequence[str] = (),
) -> Page:
    # A CSP cannot express [::1], so a callback there needs the whole scheme.
    form_targets = [*(["http:"] if "[" in callback.url else []), *onward_origins]
    return html.render(
        "turbo_consent.html",
        headers=html.csp_for(*form_targets),
        action=f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}",
        target=origin(callback.url),
        teams=teams,
        expiry=expiry,
        user=session.user,
        form_token=csrf_token(session.secret),
    )


def _cancelled_page(session: Session, html: HtmlRenderer) -> Page:
    token = csrf_token(session.secret)
    return html.render("turbo_cancelled.html", user=session.user, form_token=token)


HANDLERS = (
    show_consent,
    submit_consent,
    show_team_consent,
    submit_team_consent,
    show_success,
)
