"""The account API that `turbo login`, `turbo link` and `turbo logout` call.

Its JSON is what `turbo` parses. Times are UTC milliseconds.
"""

from typing import Annotated

import msgspec
from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import authenticated_token
from hitrate.auth.models import Permission, Token, TokenOrigin
from hitrate.auth.permissions import apparent_role
from hitrate.auth.turbo_login import TurboLogin, VerifiedLogin
from hitrate.clock import iso
from hitrate.errors import Forbidden
from hitrate.http.litestar import AnyRequest, run_in_thread
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


_MAX_LIMIT = 1000

_TEAM_FORBIDDEN = (
    "This token may not be used in the requested team. Check the team id, or use a token of that "
    "team."
)
_NOT_A_USER = "This token belongs to a team, not to a user. An owner of the team can revoke it."


@get("/v2/user", operation_id="whoami", tags=["turbo"], permission=Permission.PROFILE)
@run_in_thread
def whoami(request: AnyRequest) -> CurrentUserResponse:
    """The user that the token belongs to."""
    return CurrentUserResponse.from_token(authenticated_token(request))


@get("/v2/teams", operation_id="listTeams", tags=["turbo"], permission=Permission.PROFILE)
@run_in_thread
def list_teams(
    request: AnyRequest,
    accounts: NamedDependency[AccountStore],
    limit: Annotated[
        int, QueryParameter(name="limit", ge=1, le=_MAX_LIMIT, description="Maximum of teams.")
    ] = 100,
) -> LinkableTeams:
    """The teams that the token may be used in."""
    return LinkableTeams(_teams_of(accounts, authenticated_token(request))[:limit])


@get(
    "/v2/teams/{team:str}",
    operation_id="showTeam",
    tags=["turbo"],
    permission=Permission.PROFILE,
)
@run_in_thread
def show_linkable_team(
    request: AnyRequest, team: FromPath[str], accounts: NamedDependency[AccountStore]
) -> LinkableTeam:
    """One team that the token may be used in, by id or slug."""
    for candidate in _teams_of(accounts, authenticated_token(request)):
        if team in (candidate.id, candidate.slug):
            return candidate
    raise Forbidden(_TEAM_FORBIDDEN)


@get(
    "/v5/user/tokens/current",
    operation_id="currentToken",
    tags=["turbo"],
    permission=Permission.PROFILE,
)
@run_in_thread
def show_current_token(request: AnyRequest) -> CurrentTokenResponse:
    """The token that authenticates the request."""
    return CurrentTokenResponse.from_token(authenticated_token(request))


@delete(
    "/v3/user/tokens/current",
    operation_id="revokeCurrentToken",
    tags=["turbo"],
    permission=Permission.PROFILE,
    status_code=200,
)
@run_in_thread
def revoke_current_token(
    request: AnyRequest,
    accounts: NamedDependency[AccountStore],
    authorizer: NamedDependency[Authorizer],
) -> EmptyResponse:
    """Revoke the token that authenticates the request, if it belongs to a user."""
    token = authenticated_token(request)
    if token.user is None:
        raise Forbidden(_NOT_A_USER)
    accounts.tokens.revoke(token, token.actor)
    authorizer.invalidate_cache()
    return EmptyResponse()


@get(
    "/registration/verify",
    operation_id="verifyLogin",
    tags=["turbo"],
    permission=Permission.PUBLIC,
)
@run_in_thread
def verify_login(
    turbo_login: NamedDependency[TurboLogin],
    token: Annotated[
        str, QueryParameter(name="token", max_length=200, description="Can be used once.")
    ],
    token_name: Annotated[
        str,
        QueryParameter(name="tokenName", description="A label, truncated to 200 characters."),
    ] = "",
) -> VerifiedLogin:
    """Exchange the verification token of `turbo login --sso-team` for a token."""
    return turbo_login.verify(token, token_name)


def _teams_of(accounts: AccountStore, token: Token) -> list[LinkableTeam]:
    """Return the teams in which a token may be used; all teams for the operator's."""
    if token.user is not None:
        members = accounts.members.list_for_user(token.user)
        if token.team is not None:
            members = [member for member in members if member.team.id == token.team.id]
        return [LinkableTeam.from_team(member.team, member.role) for member in members]
    if token.team is not None:
        return [LinkableTeam.from_team(token.team, apparent_role(token.scopes))]
    return [LinkableTeam.from_team(team, Role.OWNER) for team in accounts.teams.all()]


HANDLERS = (
    whoami,
    list_teams,
    show_linkable_team,
    show_current_token,
    revoke_current_token,
    verify_login,
)
