"""The account API that `turbo login`, `turbo link` and `turbo logout` call."""

from typing import Annotated

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import authenticated_token
from hitrate.auth.models import Permission, Token
from hitrate.auth.permissions import apparent_role
from hitrate.auth.turbo_login import TurboLogin, VerifiedLogin
from hitrate.errors import Forbidden
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.turbo_schemas import (
    CurrentTokenResponse,
    CurrentUserResponse,
    EmptyResponse,
    LinkableTeam,
    LinkableTeams,
)
from hitrate.roles import Role

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
