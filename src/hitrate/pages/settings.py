"""The settings page for owners: team, limits and prices, members, tokens."""

from collections.abc import Mapping

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission
from hitrate.auth.permissions import READ_WRITE
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.clock import Clock
from hitrate.errors import BadRequest, NotFound
from hitrate.http.csrf import CsrfProtection
from hitrate.http.forms import Form
from hitrate.http.html import HtmlRenderer, Page
from hitrate.http.litestar import AnyRequest, run_in_page_thread
from hitrate.management.schemas import BillingResponse, TokenResponse
from hitrate.pages.context import MEASURE_LABELS, PageContext, TeamPages
from hitrate.pages.settings_forms import FORMS, PRICE_FIELDS, PRICES, TEAM_SCOPES, create_token
from hitrate.pages.token_forms import split_by_validity
from hitrate.roles import Role

_NOTICES = {
    "team": "Team settings saved.",
    "limits": "Limits and prices saved.",
    "member-added": "Member added.",
    "member-changed": "Member updated.",
    "member-removed": "Member removed.",
    "token-revoked": "Token revoked.",
}
_SECTIONS = ("team", "limits", "members", "tokens")


class SettingsPage:
    """Renders the settings page, with the problem of a form that was rejected."""

    def __init__(
        self, team_pages: TeamPages, accounts: AccountStore, quotas: QuotaEnforcer, clock: Clock
    ) -> None:
        self._team_pages = team_pages
        self._accounts = accounts
        self._quotas = quotas
        self._clock = clock

    def render(
        self,
        context: PageContext,
        *,
        status: int = 200,
        notice: str | None = None,
        problems: Mapping[str, str] | None = None,
        form: Form | None = None,
    ) -> Page:
        """Render the page. `problems` are messages by section; `form` refills their fields."""
        accounts, now_ms = self._accounts, self._clock.now_ms()
        # Read again: the context may be older than a change by this request.
        team = accounts.teams.find(team_id=context.team.id) or context.team
        tokens = reversed(accounts.tokens.list_for_team(team))
        active_tokens, inactive_tokens = split_by_validity(tokens, now_ms)
        return self._team_pages.render(
            context,
            "settings.html",
            status=status,
            notice=notice,
            problems={**dict.fromkeys(_SECTIONS), **(problems or {})},
            form=form or Form(b""),
            team_name=team.name,
            settings=team.settings,
            billing=BillingResponse.from_team(team, self._quotas.team_state(team), now_ms),
            measures=MEASURE_LABELS,
            prices=PRICES,
            price_fields=PRICE_FIELDS,
            members=accounts.members.list_for_team(team),
            roles=list(Role),
            active_tokens=[TokenResponse.from_token(token, now_ms) for token in active_tokens],
            inactive_tokens=[TokenResponse.from_token(token, now_ms) for token in inactive_tokens],
            scopes=TEAM_SCOPES,
            default_scopes=READ_WRITE,
        )


@get("/teams/{slug:str}/settings", permission=Permission.SESSION)
@run_in_page_thread
def show_settings(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    settings_page: NamedDependency[SettingsPage],
) -> Page:
    """Show the settings of a team."""
    context = team_pages.context(request, slug, Permission.SETTINGS)
    notice = _NOTICES.get(request.query_params.get("saved", ""))
    return settings_page.render(context, notice=notice)


@get("/teams/{slug:str}/settings/{name:str}", permission=Permission.SESSION)
@run_in_page_thread
def reload_settings(
    request: AnyRequest,
    slug: FromPath[str],
    team_pages: NamedDependency[TeamPages],
    html: NamedDependency[HtmlRenderer],
) -> Page:
    """Redirect to the settings page a browser that reloads the URL of a rejected form."""
    context = team_pages.context(request, slug, Permission.SETTINGS)
    return html.redirect(context.link("/settings"))


@post("/teams/{slug:str}/settings/tokens", permission=Permission.SESSION)
@run_in_page_thread
def submit_token_form(
    request: AnyRequest,
    slug: FromPath[str],
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    team_pages: NamedDependency[TeamPages],
    settings_page: NamedDependency[SettingsPage],
    accounts: NamedDependency[AccountStore],
) -> Page:
    """Create a token of the team and show its secret, once."""
    form = csrf.parse_form(request, body, current_session(request).secret)
    context = _authorize(request, slug, team_pages, Permission.TOKENS)
    try:
        token, secret = create_token(accounts, context, form)
    except BadRequest as error:
        problems = {"tokens": str(error)}
        return settings_page.render(context, status=400, problems=problems, form=form)
    return team_pages.render(
        context,
        "token_created.html",
        layout="layout.html",
        back_url=context.link("/settings") + "#tokens",
        back_text="Back to settings",
        token=token,
        secret=secret,
    )


@post("/teams/{slug:str}/settings/{name:str}", permission=Permission.SESSION)
@run_in_page_thread
def submit_settings_form(
    request: AnyRequest,
    slug: FromPath[str],
    name: FromPath[str],
    body: RawBody,
    csrf: NamedDependency[CsrfProtection],
    team_pages: NamedDependency[TeamPages],
    settings_page: NamedDependency[SettingsPage],
    html: NamedDependency[HtmlRenderer],
    accounts: NamedDependency[AccountStore],
    authorizer: NamedDependency[Authorizer],
    clock: NamedDependency[Clock],
) -> Page:
    """Apply a submitted form of the settings page."""
    settings_form = FORMS.get(name)
    if settings_form is None:
        raise NotFound(f"There is no settings form {name[:40]!a}.")
    form = csrf.parse_form(request, body, current_session(request).secret)
    context = _authorize(request, slug, team_pages, settings_form.permission)
    section = settings_form.section
    try:
        notice = settings_form.apply(accounts, clock, context, form)
    except (BadRequest, NotFound) as error:
        problems = {section: str(error)}
        return settings_page.render(context, status=400, problems=problems, form=form)
    authorizer.invalidate_cache()
    return html.redirect(context.link("/settings", saved=notice) + f"#{section}")


def _authorize(
    request: AnyRequest, slug: str, team_pages: TeamPages, permission: Permission
) -> PageContext:
    # A rejected form displays the settings page again, so its sender must be allowed to view it.
    team_pages.context(request, slug, Permission.SETTINGS)
    return team_pages.context(request, slug, permission)


HANDLERS = (show_settings, reload_settings, submit_token_form, submit_settings_form)
