"""Owns a team with somebody in each role, what its forms may send, and how they are sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from hitrate.http.cookies import SESSION_COOKIE
from hitrate.http.csrf import csrf_token
from hitrate.roles import Role
from hitrate.teams.models import Team, User
from tests.support.scenario import Place, Sender, miss

LIMITS = {f"price_{name}": "1" for name in ("uploaded_gb", "downloaded_gb")} | {
    "currency": "EUR",
    "cycle_day": "3",
    "requests": "10",
}


@dataclass(frozen=True)
class House:
    """A team with somebody in each role, one run, and somebody from next door."""

    place: Place
    team: Team
    people: dict[Role, User]
    stranger: User
    sender: Sender

    def path(self, page: str) -> str:
        return f"/teams/{self.team.slug}{page}"

    def as_(self, role: Role) -> Any:
        return self.place.visitor(self.people[role])

    def forms(self) -> dict[str, dict[str, str]]:
        """What each form of the settings page may send, by its address."""
        [token, *_] = self.place.accounts.tokens.list_for_team(self.team)
        viewer = self.people[Role.VIEWER].id
        return {
            "team": {"name": "Renamed", "requests_per_minute": "5"},
            "limits": LIMITS,
            "add-member": {"email": self.stranger.email, "role": "OWNER"},
            "change-member": {"user": viewer, "role": "OWNER"},
            "remove-member": {"user": viewer},
            "revoke-token": {"token": token.id},
            "tokens": {"label": "mine", "scopes": "read"},
        }

    def state(self) -> object:
        """All that forms could change, and the log of changes."""
        accounts = self.place.accounts
        return (
            accounts.teams.find(team_id=self.team.id),
            [(one.user.id, one.role, one.remote_caching) for one in self.members()],
            [(one.id, one.revoked_at_ms) for one in accounts.tokens.list_for_team(self.team)],
            [entry.action for entry in accounts.audit.page(self.team.id, 100)],
        )

    def members(self) -> Any:
        return self.place.accounts.members.list_for_team(self.team)


def build_house(place: Place) -> House:
    name = uuid.uuid4().hex[:8]
    team, other = place.team(f"house-{name}"), place.team(f"other-{name}")
    people = {
        role: place.person(f"{role.value.lower()}-{name}@example.com", team, role=role)
        for role in Role
    }
    stranger = place.person(f"stranger-{name}@example.com", other)
    sender = place.sender(team, "pipeline")
    place.post(sender, miss("one", "one"))
    place.ask(sender, "/v1/analytics/summary")
    return House(place, team, people, stranger, sender)


def send(visitor: httpx.Client, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
    """Send a form as a page that was made for this visitor does."""
    sealed = {"form_token": csrf_token(str(visitor.cookies[SESSION_COOKIE])), **form}
    return visitor.post(path, data=sealed, headers=headers)


def is_page(answer: httpx.Response) -> bool:
    """A whole page with its policy, and not a framework's own words."""
    policy = answer.headers.get("content-security-policy", "")
    return "<h1>" in answer.text and "default-src 'none'" in policy
