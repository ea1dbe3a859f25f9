"""A person's own page: their teams, their tokens, their password."""

from typing import Any

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody

from hitrate.auth.guards import current_session
from hitrate.auth.models import Scope, Token
from hitrate.auth.permissions import READ_WRITE
from hitrate.auth.sessions import SESSION_S, Session
from hitrate.errors import BadRequest, NotFound, RateLimited
from hitrate.http.cookies import SESSION
from hitrate.http.forms import Form
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.redirects import HOME
from hitrate.pages.services import PageServices
from hitrate.teams.models import Team

SCOPES = {
    Scope.READ: "download from the cache",
    Scope.WRITE: "upload to the cache",
    Scope.EVENTS: "record usage events",
    Scope.ANALYTICS: "look at events and usage",
    Scope.ADMIN: "manage teams and your account, as far as your roles go",
}
NOTICES = {"revoked": "The token is revoked.", "password": "Your password is changed."}
DAYS = 90
_DAYS_MOST = 36500
_DAY_S = 86400.0


class _Wanted:
    """The token that a form asks for. Raises BadRequest."""

    def __init__(self, form: Form, teams: list[Team]) -> None:
        self.label = form.one("label").strip()
        try:
            self.scopes = [Scope(scope) for scope in form.many("scopes")]
        except ValueError as error:
            raise BadRequest("There is no such scope.") from error
        if not self.scopes:
            raise BadRequest("Choose at least one thing that the token may be used for.")
        self.team = _team(form.one("team"), teams)
        self.lifetime_s = lifetime_s(form.one("days").strip())


def _team(team_id: str, teams: list[Team]) -> Team | None:
    for team in teams:
        if team.id == team_id:
            return team
    if team_id:
        raise BadRequest("You are not in that team.")
    return None


def lifetime_s(days: str) -> float | None:
    """Seconds of the days that a form names; None of none. Raises BadRequest."""
    if not days:
        return None
    # Its length first: Python reads no number of thousands of digits.
    short = days.isascii() and days.isdecimal() and len(days) <= len(str(_DAYS_MOST))
    if not (short and 1 <= int(days) <= _DAYS_MOST):
        raise BadRequest(f"Days are a whole number from 1 to {_DAYS_MOST}, or empty for no end.")
    return int(days) * _DAY_S


def account_page_api(desk: PageServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    made_with = {**desk.page, "guards": [desk.signed_in]}

    @get(HOME, **made_with)
    @run_in_thread
    def show(request: AnyRequest) -> Page:
        notice = NOTICES.get(request.query_params.get("done", ""))
        return _account_page(desk, current_session(request), notice=notice)

    @post("/account/tokens", **made_with)
    @run_in_thread
    def make_token(request: AnyRequest, body: RawBody) -> Page:
        session = current_session(request)
        form = desk.form(request, body, session.secret)
        try:
            token, secret = _make_token(desk, session, form)
        except BadRequest as error:
            filled = {name: form.one(name)[:300] for name in ("label", "team", "days")}
            return _account_page(
                desk,
                session,
                status=400,
                token_problem=str(error),
                checked=form.many("scopes"),
                form=filled,
            )
        return desk.show(session, "made.html", token=token, secret=secret)

    @post("/account/tokens/{token:str}/revoke", **made_with)
    @run_in_thread
    def revoke(request: AnyRequest, body: RawBody, token: FromPath[str]) -> Page:
        session = current_session(request)
        desk.form(request, body, session.secret)
        for found in desk.accounts.tokens.list_for_user(session.user):
            if found.id == token:
                desk.accounts.tokens.revoke(found, session.actor)
                desk.authorizer.invalidate_cache()
                return desk.pages.send(f"{HOME}?done=revoked")
        raise NotFound("You have no such token.")

    @post("/account/password", **made_with)
    @run_in_thread
    def change_password(request: AnyRequest, body: RawBody) -> Page:
        session = current_session(request)
        form = desk.form(request, body, session.secret)
        try:
            _change_password(desk, session, form)
        except RateLimited as error:
            headers = {"retry-after": str(error.retry_after_s)}
            return _account_page(
                desk, session, status=429, headers=headers, password_problem=str(error)
            )
        except BadRequest as error:
            return _account_page(desk, session, status=400, password_problem=str(error))
        # Every session ended with the old password; this browser's goes on as a new one.
        fresh = desk.sessions.create(session.user)
        cookie = desk.site.cookie(request, SESSION, fresh.secret, SESSION_S)
        return desk.pages.send(f"{HOME}?done=password", [cookie])

    return [show, make_token, revoke, change_password]


def _account_page(desk: PageServices, session: Session, **values: Any) -> Page:
    now_ms = desk.clock.now_ms()
    tokens = desk.accounts.tokens.list_for_user(session.user)
    tokens.sort(key=lambda token: token.created_at_ms, reverse=True)
    shown: dict[str, Any] = {
        "members": desk.accounts.members.list_for_user(session.user),
        "valid": [token for token in tokens if token.valid_at(now_ms)],
        "ended": [token for token in tokens if not token.valid_at(now_ms)],
        "scopes": SCOPES,
        "checked": READ_WRITE,
        "form": {"label": "", "team": "", "days": str(DAYS)},
        "provider": desk.provider_name,
        "notice": None,
        "token_problem": None,
        "password_problem": None,
    }
    return desk.show(session, "account.html", **(shown | values))


def _make_token(desk: PageServices, session: Session, form: Form) -> tuple[Token, str]:
    """Raises BadRequest."""
    teams = [member.team for member in desk.accounts.members.list_for_user(session.user)]
    wanted = _Wanted(form, teams)
    return desk.accounts.tokens.create(
        wanted.team,
        wanted.label,
        user=session.user,
        scopes=wanted.scopes,
        lifetime_s=wanted.lifetime_s,
        actor=session.actor,
    )


def _change_password(desk: PageServices, session: Session, form: Form) -> None:
    """Raises RequestError, and then nothing has changed."""
    user = session.user
    if not user.has_password:
        raise BadRequest("You sign in without a password here.")
    if form.one("new") != form.one("again"):
        raise BadRequest("The new password was typed differently the second time.")
    if desk.password_login.authenticate(user.email, form.one("old")) is None:
        raise BadRequest("The old password is wrong.")
    desk.accounts.users.set_password(user, form.one("new"), session.actor)
