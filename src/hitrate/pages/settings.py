"""Settings, for owners: switches, limits and prices, members, tokens. Each form is a change that
the API knows too, made in the same way and noted in the same audit log."""

from collections.abc import Mapping

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody

from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission
from hitrate.auth.permissions import READ_WRITE
from hitrate.errors import BadRequest, NotFound
from hitrate.http.forms import Form
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.schemas import BillingResponse, TokenResponse
from hitrate.pages.context import MEASURES, Dashboard, Visit
from hitrate.pages.settings_forms import PRICES, SCOPES_OFFERED, Changes, wire_name
from hitrate.roles import Role

NOTICES = {
    "team": "The team's switches are changed.",
    "limits": "Limits and prices are changed.",
    "member-added": "They are in the team now.",
    "member-changed": "The member is changed.",
    "member-removed": "They are no longer in the team.",
    "revoked": "The token is revoked.",
}

SECTIONS = ("team", "limits", "members", "tokens")


def settings_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    changes = Changes(dashboard)

    @get("/teams/{slug:str}/settings", **dashboard.page)
    @run_in_thread
    def settings(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.SETTINGS)
        notice = NOTICES.get(request.query_params.get("done", ""))
        return _page(dashboard, visit, notice=notice)

    @get("/teams/{slug:str}/settings/{part:str}", **dashboard.page)
    @run_in_thread
    def again(request: AnyRequest, slug: FromPath[str]) -> Page:
        """Where a browser is after a form was refused, and comes when that page is asked again."""
        visit = dashboard.visit(request, slug, Permission.SETTINGS)
        return dashboard.html.redirect(visit.link("/settings"))

    @post("/teams/{slug:str}/settings/tokens", **dashboard.page)
    @run_in_thread
    def make_token(request: AnyRequest, slug: FromPath[str], body: RawBody) -> Page:
        visit, form = _posted(dashboard, request, slug, Permission.TOKENS, body)
        try:
            token, secret = changes.make_token(visit, form)
        except BadRequest as error:
            return _page(dashboard, visit, status=400, problems={"tokens": str(error)}, form=form)
        return dashboard.show(visit, "token_made.html", token=token, secret=secret)

    @post("/teams/{slug:str}/settings/{part:str}", **dashboard.page)
    @run_in_thread
    def change(
        request: AnyRequest, slug: FromPath[str], part: FromPath[str], body: RawBody
    ) -> Page:
        if part not in changes.parts:
            raise NotFound("There is nothing of this name to change.")
        need, section, apply = changes.parts[part]
        visit, form = _posted(dashboard, request, slug, need, body)
        try:
            notice = apply(visit, form)
        except (BadRequest, NotFound) as error:
            return _page(dashboard, visit, status=400, problems={section: str(error)}, form=form)
        dashboard.office.authorizer.invalidate_cache()
        return dashboard.html.redirect(visit.link("/settings", done=notice) + f"#{section}")

    return [settings, again, make_token, change]


def _posted(
    dashboard: Dashboard, request: AnyRequest, slug: str, need: Permission, body: bytes
) -> tuple[Visit, Form]:
    form = dashboard.csrf.parse_form(request, body, current_session(request).secret)
    # The page comes back if the form is refused, so who sends it must be allowed to see it.
    dashboard.visit(request, slug, Permission.SETTINGS)
    return dashboard.visit(request, slug, need), form


def _page(
    dashboard: Dashboard,
    visit: Visit,
    *,
    status: int = 200,
    notice: str | None = None,
    problems: Mapping[str, str] | None = None,
    form: Form | None = None,
) -> Page:
    accounts, now_ms = dashboard.office.accounts, dashboard.clock.now_ms()
    # As it is now: the visit may be older than a change that was just made.
    team = accounts.teams.find(team_id=visit.team.id) or visit.team
    tokens = [
        TokenResponse.from_token(token, now_ms)
        for token in reversed(accounts.tokens.list_for_team(team))
    ]
    return dashboard.show(
        visit,
        "settings.html",
        status=status,
        notice=notice,
        problems={**dict.fromkeys(SECTIONS), **(problems or {})},
        form=form or Form(b""),
        name=team.name,
        settings=team.settings,
        billing=BillingResponse.from_team(team, dashboard.office.standing.team_state(team), now_ms),
        measures=MEASURES,
        prices=PRICES,
        wire=wire_name,
        members=accounts.members.list_for_team(team),
        roles=list(Role),
        valid=[token for token in tokens if token.state == "valid"],
        ended=[token for token in tokens if token.state != "valid"],
        scopes=SCOPES_OFFERED,
        usual_scopes=READ_WRITE,
    )
