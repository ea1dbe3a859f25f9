"""What all pages of the dashboard share: who looks at which team, what they may, and the look."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.reports import Reports
from hitrate.auth.guards import current_session
from hitrate.auth.models import Permission
from hitrate.auth.permissions import ROLE_PERMISSIONS
from hitrate.auth.sessions import Session
from hitrate.billing.quotas import TeamState, reached_limits
from hitrate.clock import Clock
from hitrate.errors import Forbidden, NotFound
from hitrate.http.csrf import CsrfProtection, csrf_token
from hitrate.http.html import HtmlRenderer, Page, content_security_policy
from hitrate.http.litestar import AnyRequest
from hitrate.http.redirects import PublicUrl
from hitrate.management.services import AccountServices
from hitrate.pages import formatting
from hitrate.roles import Role
from hitrate.teams.models import Actor, Member, Team

MEASURES = {
    "uploaded_bytes": "Uploaded",
    "downloaded_bytes": "Downloaded",
    "requests": "Requests",
    "events": "Events",
    "stored_bytes": "Stored",
}
"""What is metered, and what pages call it."""

_SHUT = {
    TeamState.SOFT_BLOCKED: "The team is blocked. The operator of this server lifts the block.",
    TeamState.PAYMENT_MISSING: "A payment is missing. The operator of this server records it.",
    TeamState.DISABLED: "Remote Caching is switched off for the team. An owner can switch it on.",
    TeamState.PAUSED: "Remote Caching is paused: the spend cap is reached. An owner can raise it.",
    TeamState.OVER_LIMIT: "Remote Caching is refused: a limit of this billing cycle is reached "
    "({reached}). An owner can raise it.",
}
_SHUT_FOR_ONE = "Remote Caching is switched off for you in this team. An owner can switch it on."

TIME_ZONE = "hitrate_timezone"
"""The cookie in which a browser says where it is."""

SCRIPTED_PAGE_HEADERS = content_security_policy(scripts=True)

_PULSE_MS = 86_400_000

_TABS: tuple[tuple[str, str, Permission], ...] = (
    ("", "Overview", Permission.ANALYTICS),
    ("/runs", "Runs", Permission.ANALYTICS),
    ("/artifacts", "Artifacts", Permission.ANALYTICS),
    ("/usage", "Usage and limits", Permission.USAGE),
    ("/connect", "Connect", Permission.TEAM),
    ("/settings", "Settings", Permission.SETTINGS),
)


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody of a team who looks at one of its pages."""

    request: AnyRequest
    session: Session
    member: Member
    members: list[Member]
    zone: ZoneInfo

    @property
    def team(self) -> Team:
        return self.member.team

    @property
    def actor(self) -> Actor:
        return self.session.actor

    @property
    def access(self) -> frozenset[Permission]:
        return ROLE_PERMISSIONS[self.member.role]

    def link(self, page: str, **query: str | None) -> str:
        """The address of a page of the team."""
        return team_link(self.team.slug, page, **query)


def team_link(slug: str, page: str, **query: str | None) -> str:
    """The address of a page of a team; a parameter that is None is left out."""
    given = {name: value for name, value in query.items() if value is not None}
    tail = f"?{urlencode(given, safe=':/')}" if given else ""
    return f"/teams/{quote(slug, safe='')}{page}{tail}"


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The parts that pages work with."""

    html: HtmlRenderer
    csrf: CsrfProtection
    public_url: PublicUrl
    office: AccountServices
    reports: Reports
    cache: ArtifactReports
    clock: Clock

    @property
    def page(self) -> dict[str, Any]:
        """What every handler of a page is made with."""
        return {"permission": Permission.SESSION}

    def visit(self, request: AnyRequest, slug: str, need: Permission) -> Visit:
        """Who looks. Raises NotFound for a team that is not theirs, Forbidden for a page that
        their role does not see; asked anew at every request."""
        session = current_session(request)
        members = self.office.accounts.members.list_for_user(session.user)
        for member in members:
            if member.team.slug == slug:
                visit = Visit(request, session, member, members, _zone(request))
                if need not in visit.access:
                    raise Forbidden(_lacking(member.role, need))
                return visit
        raise NotFound("There is no such team among yours.")

    def pulse(self, visit: Visit) -> str:
        """Changes when what pages show may have; asked for before they are made, and then every
        few seconds by their script."""
        since_ms = self.clock.now_ms() - _PULSE_MS
        return "-".join(map(str, self.reports.change_token(visit.team.id, since_ms)))

    def _shut(self, visit: Visit) -> str | None:
        """Why the visitor's builds do not get to the cache; None if they do."""
        team = visit.team
        state = self.office.standing.team_state(team)
        if state is not TeamState.ACTIVE:
            reached = reached_limits(team.settings.limits, self.office.meter.current(team).usage)
            return _SHUT[state].format(
                reached=", ".join(MEASURES[name] for name in reached).lower()
            )
        return None if visit.member.remote_caching else _SHUT_FOR_ONE

    def show(self, visit: Visit, template: str, *, status: int = 200, **values: Any) -> Page:
        """A page of the dashboard."""
        tabs = [
            (name, visit.link(path), path) for path, name, need in _TABS if need in visit.access
        ]
        return self.html.render(
            template,
            status=status,
            headers=SCRIPTED_PAGE_HEADERS,
            user=visit.session.user,
            form_token=csrf_token(visit.session.secret),
            team=visit.team,
            shut=self._shut(visit),
            may={access.value for access in visit.access},
            teams=[member.team for member in visit.members],
            tabs=tabs,
            zone=visit.zone.key,
            link=visit.link,
            moment=partial(formatting.moment, zone=visit.zone),
            exact_moment=partial(formatting.exact_moment, zone=visit.zone),
            **values,
        )


def page_values() -> Mapping[str, Any]:
    """What templates may use everywhere."""
    names = (
        "percent",
        "whole_percent",
        "short_duration",
        "points",
        "change",
        "number",
        "counted",
        "size",
        "exact_size",
        "duration",
    )
    return {name: getattr(formatting, name) for name in names}


def _zone(request: AnyRequest) -> ZoneInfo:
    """Where the browser says it is; UTC if it does not, or says something strange."""
    try:
        return ZoneInfo(request.cookies.get(TIME_ZONE) or "UTC")
    except (ValueError, OSError, KeyError):
        return ZoneInfo("UTC")


def _lacking(role: Role, need: Permission) -> str:
    return f"Your role in this team, {role.value}, does not include this page ({need.value})."
