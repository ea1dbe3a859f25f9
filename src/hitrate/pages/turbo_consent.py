"""What `turbo login` opens in a browser: somebody who is signed in lets turbo use the cache.

`/turborepo/token` hands over a token at once. `/api/auth/sso`, for `turbo login --sso-team`, hands
over a verification token, which `/registration/verify` exchanges for one that is confined to the
team.
"""

from typing import Annotated

from litestar import get, post
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import QueryParameter, RawBody

from hitrate.auth.guards import current_session, here
from hitrate.auth.sessions import Session
from hitrate.auth.sso import SingleSignOn
from hitrate.auth.turbo_login import Target, TurboLogin, Verified, target_of
from hitrate.http.cookies import Connection
from hitrate.http.html import Page, day
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.redirects import origin
from hitrate.pages.services import PageServices
from hitrate.teams.models import Team

_AFTER_SSO = "https://vercel.com"
"""Where turbo sends the browser after `--sso-team`, whichever server it logged in to."""


def _target_first(connection: Connection, _handler: BaseRouteHandler) -> None:
    """A guard: an address that is wrong is refused before anybody is sent to sign in."""
    target_of(connection, "redirect_uri")


def connect_api(
    desk: PageServices, tickets: TurboLogin, sso: SingleSignOn | None
) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    return [*_token_api(desk, tickets), *_team_api(desk, tickets, sso), *_end_api(desk, tickets)]


def _token_api(desk: PageServices, tickets: TurboLogin) -> list[HTTPRouteHandler]:
    made_with = {**desk.page, "guards": [_target_first, desk.signed_in]}

    @get("/turborepo/token", **made_with)
    @run_in_thread
    def ask(request: AnyRequest) -> Page:
        session, target = current_session(request), target_of(request, "redirect_uri")
        teams = [member.team for member in desk.accounts.members.list_for_user(session.user)]
        return _connect_page(desk, request, session, target, teams)

    @post("/turborepo/token", **made_with)
    @run_in_thread
    def allow(request: AnyRequest, body: RawBody) -> Page:
        session, target = current_session(request), target_of(request, "redirect_uri")
        form = desk.form(request, body, session.secret)
        if form.one("answer") != "allow":
            return desk.show(session, "cancelled.html")
        return desk.pages.send(target.answer(token=tickets.token(session.user)))

    return [ask, allow]


def _team_api(
    desk: PageServices, tickets: TurboLogin, sso: SingleSignOn | None
) -> list[HTTPRouteHandler]:
    @get("/api/auth/sso", **desk.page)
    @run_in_thread
    def ask_for_team(request: AnyRequest) -> Page:
        target, name = target_of(request, "next"), request.query_params.get("teamId", "")
        if sso is not None and desk.signed_in.find(request) is None:
            return sso.begin(request, here(request))
        # Asked for, however somebody signed in: any other site could have sent the browser here.
        session = desk.signed_in.session(request)
        team = tickets.team(session.user, name)
        return _connect_page(desk, request, session, target, [team], _AFTER_SSO)

    @post("/api/auth/sso", **desk.page, guards=[desk.signed_in])
    @run_in_thread
    def allow_for_team(request: AnyRequest, body: RawBody) -> Page:
        session, target = current_session(request), target_of(request, "next")
        form = desk.form(request, body, session.secret)
        if form.one("answer") != "allow":
            return desk.show(session, "cancelled.html")
        team = tickets.team(session.user, request.query_params.get("teamId", ""))
        return desk.pages.send(tickets.send_back(session.user, team, target))

    return [ask_for_team, allow_for_team]


def _end_api(desk: PageServices, tickets: TurboLogin) -> list[HTTPRouteHandler]:
    @get("/registration/verify", operation_id="verifyLogin", tags=["turbo"], sync_to_thread=True)
    def verify(
        token: Annotated[
            str, QueryParameter(name="token", max_length=200, description="It works once.")
        ],
        token_name: Annotated[
            str, QueryParameter(name="tokenName", description="A label; 200 characters are kept.")
        ] = "",
    ) -> Verified:
        """Exchange the verification token of `turbo login --sso-team` for a token."""
        return tickets.verify(token, token_name)

    @get("/turborepo/success", **desk.page, sync_to_thread=False)
    def success() -> Page:
        return desk.pages.show("connected.html")

    return [verify, success]


def _connect_page(
    desk: PageServices,
    request: AnyRequest,
    session: Session,
    target: Target,
    teams: list[Team],
    *onwards: str,
) -> Page:
    ttl_s = desk.settings.login_token_ttl_s
    return desk.show(
        session,
        "connect.html",
        headers=desk.pages.leading_to(target.url, *onwards),
        action=f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}",
        target=origin(target.url),
        teams=teams,
        ends=None if ttl_s is None else day(desk.clock.now_ms() + int(ttl_s * 1000)),
    )
