"""Login and logout: with a password at `/login`, or at the identity provider."""

from collections.abc import Mapping

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import RawBody

from hitrate.auth.guards import SessionAuthenticator, current_session
from hitrate.auth.models import Permission
from hitrate.auth.password_login import PasswordAuthenticator
from hitrate.auth.sessions import SESSION_TTL_S, Sessions
from hitrate.auth.sso import SingleSignOn, provider_name
from hitrate.config import Settings
from hitrate.errors import RateLimited, RequestError
from hitrate.http.cookies import BROWSER_COOKIE, SESSION_COOKIE, SecureCookies
from hitrate.http.csrf import CsrfProtection, csrf_token
from hitrate.http.html import HtmlRenderer, Page
from hitrate.http.litestar import AnyRequest, run_in_page_thread
from hitrate.http.redirects import PublicUrl, safe_redirect
from hitrate.teams.models import User

SSO_CALLBACK_PATH = "/login/sso/callback"
_MAX_EMAIL_LENGTH = 254

_WRONG_CREDENTIALS = "Wrong email address or password."


@get("/login", permission=Permission.PUBLIC)
@run_in_page_thread
def show_login(
    request: AnyRequest,
    session_authenticator: NamedDependency[SessionAuthenticator],
    settings: NamedDependency[Settings],
    secure_cookies: NamedDependency[SecureCookies],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    next_url = request.query_params.get("next")
    if session_authenticator.find(request) is not None:
        return html.redirect(safe_redirect(next_url))
    return _login_page(request, settings, secure_cookies, html, next_url)


@post("/login", permission=Permission.PUBLIC)
@run_in_page_thread
def submit_login(
    request: AnyRequest,
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    password_authenticator: NamedDependency[PasswordAuthenticator],
    sessions: NamedDependency[Sessions],
    settings: NamedDependency[Settings],
    secure_cookies: NamedDependency[SecureCookies],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    form = csrf.parse_form(request, body, secure_cookies.get(request, BROWSER_COOKIE))
    next_url, email = form.one("next"), form.one("email")
    try:
        user = password_authenticator.authenticate(email, form.one("password"))
    except RateLimited as error:
        return _login_page(
            request,
            settings,
            secure_cookies,
            html,
            next_url,
            email=email,
            problem=str(error),
            status=429,
            headers={"retry-after": str(error.retry_after_s)},
        )
    if user is None:
        return _login_page(
            request,
            settings,
            secure_cookies,
            html,
            next_url,
            email=email,
            problem=_WRONG_CREDENTIALS,
            status=403,
        )
    return complete_login(request, user, next_url, sessions, secure_cookies, html)


@post("/logout", permission=Permission.SESSION)
@run_in_page_thread
def logout(
    request: AnyRequest,
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    sessions: NamedDependency[Sessions],
    secure_cookies: NamedDependency[SecureCookies],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    session = current_session(request)
    csrf.parse_form(request, body, session.secret)
    sessions.delete(session.secret)
    return html.redirect("/login", [secure_cookies.expire(request, SESSION_COOKIE)])


@get("/login/sso", permission=Permission.PUBLIC)
@run_in_page_thread
def start_sso(
    request: AnyRequest,
    sso: NamedDependency[SingleSignOn],
    public_url: NamedDependency[PublicUrl],
    secure_cookies: NamedDependency[SecureCookies],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    next_url = request.query_params.get("next")
    return redirect_to_provider(request, sso, public_url, secure_cookies, html, next_url)


@get(SSO_CALLBACK_PATH, permission=Permission.PUBLIC)
@run_in_page_thread
def finish_sso(
    request: AnyRequest,
    sso: NamedDependency[SingleSignOn],
    password_authenticator: NamedDependency[PasswordAuthenticator],
    sessions: NamedDependency[Sessions],
    public_url: NamedDependency[PublicUrl],
    secure_cookies: NamedDependency[SecureCookies],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    try:
        user, next_path = sso.finish(
            secure_cookies.get(request, BROWSER_COOKIE),
            public_url.for_request(request) + SSO_CALLBACK_PATH,
            request.query_params,
        )
    except RequestError:
        password_authenticator.count_failure()
        raise
    return complete_login(request, user, next_path, sessions, secure_cookies, html)


def redirect_to_provider(
    request: AnyRequest,
    sso: SingleSignOn,
    public_url: PublicUrl,
    cookies: SecureCookies,
    html: HtmlRenderer,
    next_url: str | None,
) -> Page:
    """Start a login at the identity provider that continues at `next_url`."""
    secret, cookie = cookies.browser_secret(request)
    callback_url = public_url.for_request(request) + SSO_CALLBACK_PATH
    return html.redirect(sso.start(secret, callback_url, next_url), [cookie])


def complete_login(
    request: AnyRequest,
    user: User,
    next_url: str,
    sessions: Sessions,
    cookies: SecureCookies,
    html: HtmlRenderer,
) -> Page:
    """Start a session, which replaces the browser's old one, and redirect to `next_url` if safe.

    Raises Unauthorized if the user has been disabled in the meantime.
    """
    session = sessions.create(user)
    sessions.delete(cookies.get(request, SESSION_COOKIE))
    return html.redirect(
        safe_redirect(next_url),
        [
            cookies.create(request, SESSION_COOKIE, session.secret, SESSION_TTL_S),
            cookies.expire(request, BROWSER_COOKIE),
        ],
    )


def _login_page(
    request: AnyRequest,
    settings: Settings,
    cookies: SecureCookies,
    html: HtmlRenderer,
    next_url: str | None,
    *,
    email: str = "",
    problem: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Page:
    secret, cookie = cookies.browser_secret(request)
    return html.render(
        "login.html",
        status=status,
        headers=headers,
        cookies=[cookie],
        form_token=csrf_token(secret),
        next=safe_redirect(next_url),
        provider=provider_name(settings),
        problem=problem,
        email=email[:_MAX_EMAIL_LENGTH],
    )


HANDLERS = (show_login, submit_login, logout)
SSO_HANDLERS = (start_sso, finish_sso)
