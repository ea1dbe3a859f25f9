"""The context of a team page: who views which team, with what permissions, in which time zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from hitrate.analytics.reports import Reports
from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission
from hitrate.auth.permissions import ROLE_PERMISSIONS
from hitrate.auth.sessions import Session
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer, TeamState, reached_limits
from hitrate.clock import Clock
from hitrate.errors import Forbidden, NotFound
from hitrate.http.csrf import csrf_token
from hitrate.http.html import HtmlRenderer, Page, content_security_policy
from hitrate.http.litestar import AnyRequest
from hitrate.pages import formatting
from hitrate.teams.members import MemberStore
from hitrate.teams.models import Actor, Member, Team
from hitrate.units import format_count, format_exact_size

MEASURE_LABELS = {
    "uploaded_bytes": "Uploaded",
    "downloaded_bytes": "Downloaded",
    "requests": "Requests",
    "events": "Events",
    "stored_bytes": "Stored",
}
"""The label of each metered measure."""

TIME_ZONE_COOKIE = "hitrate_timezone"
"""The cookie that the script of the pages sets to the time zone of the browser."""

_BLOCKED_REASONS = {
    TeamState.SOFT_BLOCKED: "This team is blocked. Contact the operator of this server.",
    TeamState.PAYMENT_MISSING: "A payment is missing. Contact the operator of this server.",
    TeamState.DISABLED: "Remote Caching is disabled for this team. An owner can enable it.",
    TeamState.PAUSED: "Remote Caching is paused: the spend cap is reached. An owner can raise it.",
    TeamState.OVER_LIMIT: "Remote Caching is unavailable: this team has reached a limit of its "
    "billing cycle ({reached}). An owner can raise it.",
}
_MEMBER_BLOCKED = "Remote Caching is disabled for you in this team. An owner can enable it."

SCRIPTED_PAGE_HEADERS = content_security_policy(scripts=True)
"""Unlike the login pages, the dashboard runs a script of the server."""

_VERSION_PERIOD_MS = 86_400_000

_TABS: tuple[tuple[str, str, Permission], ...] = (
    ("", "Overview", Permission.ANALYTICS),
    ("/runs", "Runs", Permission.ANALYTICS),
    ("/artifacts", "Artifacts", Permission.ANALYTICS),
    ("/usage", "Usage and limits", Permission.USAGE),
    ("/connect", "Connect", Permission.TEAM),
    ("/settings", "Settings", Permission.SETTINGS),
)


@dataclass(frozen=True, slots=True)
class PageContext:
    """A team page being viewed. `memberships` are all memberships of the signed-in user."""

    session: Session
    member: Member
    memberships: list[Member]
    zone: ZoneInfo

    @property
    def team(self) -> Team:
        return self.member.team

    @property
    def actor(self) -> Actor:
        return self.session.actor

    @property
    def permissions(self) -> frozenset[Permission]:
        return ROLE_PERMISSIONS[self.member.role]

    def link(self, page: str, **params: str | None) -> str:
        """Return the path of a page of this team."""
        return team_path(self.team.slug, page, **params)


class TeamPages:
    """Authorizes and renders the pages of teams, all in the same layout."""

    def __init__(
        self, html: HtmlRenderer, members: MemberStore, quotas: QuotaEnforcer, meter: Meter
    ) -> None:
        self._html = html
        self._members = members
        self._quotas = quotas
        self._meter = meter

    def context(self, request: AnyRequest, slug: str, permission: Permission) -> PageContext:
        """Return the context of a request for a page that requires a permission.

        Reads the membership from the database, so that a change counts immediately. Raises
        NotFound if the user is not a member of the team, Forbidden if the role lacks the
        permission.
        """
        session = current_session(request)
        memberships = self._members.list_for_user(session.user)
        member = next((member for member in memberships if member.team.slug == slug), None)
        if member is None:
            raise NotFound("Team not found, or you're not a member.")
        context = PageContext(session, member, memberships, _time_zone(request))
        if permission not in context.permissions:
            raise Forbidden(
                f"Your role in this team ({member.role.value}) does not include this page. "
                f"It requires the permission {permission.value!r}."
            )
        return context

    def render(
        self,
        context: PageContext,
        template: str,
        *,
        version: str | None = None,
        status: int = 200,
        **values: Any,
    ) -> Page:
        """Render a page of a team. With a `version`, the page updates itself when that changes."""
        permissions = context.permissions
        return self._html.render(
            template,
            status=status,
            headers=SCRIPTED_PAGE_HEADERS,
            user=context.session.user,
            form_token=csrf_token(context.session.secret),
            team=context.team,
            teams=[member.team for member in context.memberships],
            permissions={permission.value for permission in permissions},
            tabs=[(name, path) for path, name, permission in _TABS if permission in permissions],
            blocked_reason=self._blocked_reason(context),
            version=version,
            zone=context.zone.key,
            link=context.link,
            time_text=partial(formatting.time_text, zone=context.zone),
            exact_time_text=partial(formatting.exact_time_text, zone=context.zone),
            **values,
        )

    def _blocked_reason(self, context: PageContext) -> str | None:
        """Explain why the cache rejects requests of this user in this team; None if it does not."""
        team = context.team
        state = self._quotas.team_state(team)
        if state is TeamState.ACTIVE:
            return None if context.member.remote_caching else _MEMBER_BLOCKED
        reached = reached_limits(team.settings.limits, self._meter.current(team).usage)
        measures = ", ".join(MEASURE_LABELS[name] for name in reached).lower()
        return _BLOCKED_REASONS[state].format(reached=measures)


def team_path(slug: str, page: str, **params: str | None) -> str:
    """Return the path of a page of a team; parameters that are None are left out."""
    query = {name: value for name, value in params.items() if value is not None}
    suffix = f"?{urlencode(query, safe=':/')}" if query else ""
    return f"/teams/{quote(slug, safe='')}{page}{suffix}"


def data_version(reports: Reports, team: Team, clock: Clock) -> str:
    """Return a text that changes whenever runs of the last day do.

    Read it before the data of a page. The page polls it and reloads itself when it has changed.
    """
    since_ms = clock.now_ms() - _VERSION_PERIOD_MS
    return "-".join(map(str, reports.change_token(team.id, since_ms)))


def template_globals() -> Mapping[str, Any]:
    """Return the functions that every template of the dashboard may call."""
    functions = (
        formatting.percent,
        formatting.whole_percent,
        formatting.rate_change,
        formatting.amount_change,
        formatting.number,
        formatting.size,
        formatting.duration,
        formatting.axis_duration,
    )
    return {
        function.__name__: function for function in (*functions, format_count, format_exact_size)
    }


def _time_zone(request: AnyRequest) -> ZoneInfo:
    """Return the time zone of the browser; UTC if its cookie is missing or invalid."""
    try:
        return ZoneInfo(request.cookies.get(TIME_ZONE_COOKIE) or "UTC")
    except (ValueError, OSError, KeyError):
        return ZoneInfo("UTC")
