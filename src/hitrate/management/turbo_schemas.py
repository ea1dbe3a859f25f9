"""What `turbo` parses: people, teams and tokens, in its words. Pure. Times are UTC milliseconds."""

import msgspec

from hitrate.auth.models import Token
from hitrate.clock import iso
from hitrate.roles import Role
from hitrate.teams.models import Team


class PersonInfo(msgspec.Struct, rename="camel"):
    """Whom a token stands for; a team's own token stands for no person but for itself."""

    id: str
    username: str
    email: str
    name: str
    created_at: int


class PersonAnswer(msgspec.Struct):
    """As it is wrapped."""

    user: PersonInfo


class RoleInfo(msgspec.Struct):
    """What somebody is in a team."""

    role: Role


class LinkedTeam(msgspec.Struct, rename="camel"):
    """A team, and what whoever asks is in it."""

    id: str
    slug: str
    name: str
    created_at: int
    created: str
    membership: RoleInfo


class LinkedTeams(msgspec.Struct):
    """By slug."""

    teams: list[LinkedTeam]


class TokenScope(msgspec.Struct, rename="camel", omit_defaults=True):
    """Where a token counts: everywhere that its person does, or in one team."""

    type: str
    origin: str
    created_at: int
    expires_at: int | None = None
    team_id: str | None = None


class CurrentToken(msgspec.Struct, rename="camel"):
    """`active_at`: when it was last used; `turbo` takes one in the future for invalid."""

    id: str
    name: str
    type: str
    origin: str
    scopes: list[TokenScope]
    active_at: int
    created_at: int


class TokenAnswer(msgspec.Struct):
    """As it is wrapped."""

    token: CurrentToken


class Nothing(msgspec.Struct):
    """`{}`."""


def person_info(token: Token) -> PersonInfo:
    """Whom `turbo` greets."""
    user, team = token.user, token.team
    if user is not None:
        return PersonInfo(user.id, user.username, user.email, user.name, user.created_at_ms)
    if team is not None:
        name = token.label or team.name
        return PersonInfo(token.id, team.slug, "", name, token.created_at_ms)
    return PersonInfo(token.id, "operator", "", "operator", token.created_at_ms)


def current_token(token: Token) -> CurrentToken:
    """How `turbo` sees the token that it was given."""
    team_id = token.team.id if token.team else None
    # What `turbo login --sso-team` calls its tokens is all that is left of how they came about.
    sso = token.user is not None and token.label.endswith("Single Sign-On")
    origin = "sso" if sso else "manual"
    scope = TokenScope(
        type="user" if team_id is None else "team",
        origin=origin,
        created_at=token.created_at_ms,
        expires_at=token.expires_at_ms,
        team_id=team_id,
    )
    return CurrentToken(
        id=token.id,
        name=token.label,
        type="token",
        origin=origin,
        scopes=[scope],
        active_at=token.used_at_ms or token.created_at_ms,
        created_at=token.created_at_ms,
    )


def linked_team(team: Team, role: Role) -> LinkedTeam:
    """A team as whoever has this role in it sees it."""
    created = team.created_at_ms
    return LinkedTeam(team.id, team.slug, team.name, created, iso(created), RoleInfo(role))
