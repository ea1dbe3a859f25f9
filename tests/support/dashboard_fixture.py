"""A team with a user in each role, and the forms of its settings page."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass

import httpx

from hitrate.http.cookies import SESSION_COOKIE
from hitrate.http.csrf import csrf_token
from hitrate.roles import Role
from hitrate.teams.models import Member, Team, User
from tests.support.scenario import BuildClient, PageServer, miss

LIMITS_FORM = {f"price_{name}": "1" for name in ("uploaded_gb", "downloaded_gb")} | {
    "currency": "EUR",
    "cycle_day": "3",
    "requests": "10",
}


@dataclass(frozen=True)
class DashboardFixture:
    """A team with a user in each role and one run, and an owner of another team, `outsider`."""

    server: PageServer
    team: Team
    users: dict[Role, User]
    outsider: User
    client: BuildClient

    def path(self, page: str) -> str:
        return f"/teams/{self.team.slug}{page}"

    def browse_as(self, role: Role) -> AbstractContextManager[httpx.Client]:
        """Create an HTTP client with the session of the user in this role."""
        return self.server.browse_as(self.users[role])

    def forms(self) -> dict[str, dict[str, str]]:
        """Return valid fields for each form of the settings page, by form name."""
        [token, *_] = self.server.accounts.tokens.list_for_team(self.team)
        viewer = self.users[Role.VIEWER].id
        return {
            "team": {"name": "Renamed", "requests_per_minute": "5"},
            "limits": LIMITS_FORM,
            "add-member": {"email": self.outsider.email, "role": "OWNER"},
            "change-member": {"user": viewer, "role": "OWNER"},
            "remove-member": {"user": viewer},
            "revoke-token": {"token": token.id},
            "tokens": {"label": "mine", "scopes": "read"},
        }

    def state(self) -> object:
        """Return everything that forms can change, and the audit log."""
        accounts = self.server.accounts
        tokens = accounts.tokens.list_for_team(self.team)
        return (
            accounts.teams.find(team_id=self.team.id),
            [(member.user.id, member.role, member.remote_caching) for member in self.members()],
            [(token.id, token.revoked_at_ms) for token in tokens],
            [entry.action for entry in accounts.audit.page(self.team.id, 100)],
        )

    def members(self) -> list[Member]:
        return self.server.accounts.members.list_for_team(self.team)


def create_dashboard_fixture(server: PageServer) -> DashboardFixture:
    suffix = uuid.uuid4().hex[:8]
    team, other_team = server.create_team(f"team-{suffix}"), server.create_team(f"other-{suffix}")
    users = {
        role: server.create_user(f"{role.value.lower()}-{suffix}@example.com", team, role=role)
        for role in Role
    }
    outsider = server.create_user(f"outsider-{suffix}@example.com", other_team)
    client = server.create_client(team, "pipeline")
    server.send_events(client, miss("one", "one"))
    server.load_events(client)
    return DashboardFixture(server, team, users, outsider, client)


def submit_form(
    http: httpx.Client, path: str, fields: dict[str, str], **headers: str
) -> httpx.Response:
    """Submit a form with the CSRF token of the client's session."""
    data = {"form_token": csrf_token(str(http.cookies[SESSION_COOKIE])), **fields}
    return http.post(path, data=data, headers=headers)


def is_html_page(response: httpx.Response) -> bool:
    """Return whether a response is a page of the server, with its content security policy."""
    policy = response.headers.get("content-security-policy", "")
    return "<h1>" in response.text and "default-src 'none'" in policy
