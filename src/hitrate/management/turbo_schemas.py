"""JSON that `turbo` parses: users, teams and tokens. Times are UTC milliseconds."""

import msgspec

from hitrate.auth.models import Token, TokenOrigin
from hitrate.clock import iso
from hitrate.roles import Role
from hitrate.teams.models import Team


class CurrentUser(msgspec.Struct, rename="camel"):
    """The user of a token. A token of a team or of the operator is described as a user itself."""

    id: str
    username: str
    email: str
    name: str
    created_at: int

    @classmethod
    def from_token(cls, token: Token) -> "CurrentUser":
        user, team = token.user, token.team
        if user is not None:
            return cls(user.id, user.username, user.email, user.name, user.created_at_ms)
        if team is not None:
            return cls(token.id, team.slug, "", token.label or team.name, token.created_at_ms)
        return cls(token.id, "operator", "", "operator", token.created_at_ms)


class CurrentUserResponse(msgspec.Struct):
    """The response of `whoami`."""

    user: CurrentUser

    @classmethod
    def from_token(cls, token: Token) -> "CurrentUserResponse":
        return cls(CurrentUser.from_token(token))


class TeamRole(msgspec.Struct):
    """The caller's role in a team."""

    role: Role


class LinkableTeam(msgspec.Struct, rename="camel"):
    """A team that `turbo link` offers."""

    id: str
    slug: str
    name: str
    created_at: int
    created: str
    membership: TeamRole

    @classmethod
    def from_team(cls, team: Team, role: Role) -> "LinkableTeam":
        created_at = team.created_at_ms
        return cls(team.id, team.slug, team.name, created_at, iso(created_at), TeamRole(role))


class LinkableTeams(msgspec.Struct):
    """Teams, ordered by slug."""

    teams: list[LinkableTeam]


class TokenScope(msgspec.Struct, rename="camel", omit_defaults=True):
    """Where a token is valid: in all teams of its user (`user`) or in one team (`team`)."""

    type: str
    origin: str
    created_at: int
    expires_at: int | None = None
    team_id: str | None = None


class CurrentToken(msgspec.Struct, rename="camel"):
    """A token. `turbo` treats a token as invalid if `active_at`, its last use, is in the future."""

    id: str
    name: str
    type: str
    origin: str
    scopes: list[TokenScope]
    active_at: int
    created_at: int

    @classmethod
    def from_token(cls, token: Token) -> "CurrentToken":
        team_id = token.team.id if token.team else None
        origin = "sso" if token.origin is TokenOrigin.SSO else "manual"  # turbo knows these two
        scope = TokenScope(
            type="user" if team_id is None else "team",
            origin=origin,
            created_at=token.created_at_ms,
            expires_at=token.expires_at_ms,
            team_id=team_id,
        )
        return cls(
            id=token.id,
            name=token.label,
            type="token",
            origin=origin,
            scopes=[scope],
            active_at=token.used_at_ms or token.created_at_ms,
            created_at=token.created_at_ms,
        )


class CurrentTokenResponse(msgspec.Struct):
    """The response of `currentToken`."""

    token: CurrentToken

    @classmethod
    def from_token(cls, token: Token) -> "CurrentTokenResponse":
        return cls(CurrentToken.from_token(token))


class EmptyResponse(msgspec.Struct):
    """`{}`."""
