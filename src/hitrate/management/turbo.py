"""What `turbo login`, `turbo link` and `turbo logout` ask of the API, in the shapes they parse."""

from typing import Annotated

from litestar import delete, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import RequirePermission, authenticated_token
from hitrate.auth.models import Permission, Token
from hitrate.auth.permissions import apparent_role
from hitrate.errors import Forbidden
from hitrate.http.litestar import AnyRequest
from hitrate.management.turbo_schemas import (
    LinkedTeam,
    LinkedTeams,
    Nothing,
    PersonAnswer,
    TokenAnswer,
    current_token,
    linked_team,
    person_info,
)
from hitrate.roles import Role

_LIMIT_MOST = 1000

_NO_TEAM = (
    "This token has no permission for the team that was asked for; check its id, or use a token of "
    "that team."
)
_NO_PERSON = "This is a token of a team, not of a person: an owner of the team revokes it."


def teams_of(accounts: AccountStore, token: Token) -> list[LinkedTeam]:
    """The teams that a token may be used in; the operator's in every one."""
    if token.user is not None:
        members = accounts.members.list_for_user(token.user)
        if token.team is not None:
            members = [member for member in members if member.team.id == token.team.id]
        return [linked_team(member.team, member.role) for member in members]
    if token.team is not None:
        return [linked_team(token.team, apparent_role(token.scopes))]
    return [linked_team(team, Role.OWNER) for team in accounts.teams.all()]


def turbo_api(accounts: AccountStore, authorizer: Authorizer) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    needs = RequirePermission(authorizer, Permission.PROFILE)
    return [*_profile_api(accounts, needs), *_token_api(accounts, authorizer, needs)]


def _profile_api(accounts: AccountStore, needs: RequirePermission) -> list[HTTPRouteHandler]:
    @get("/v2/user", operation_id="whoami", tags=["turbo"], guards=[needs], sync_to_thread=True)
    def user(request: AnyRequest) -> PersonAnswer:
        """Whom the token stands for."""
        return PersonAnswer(person_info(authenticated_token(request)))

    @get("/v2/teams", operation_id="listTeams", tags=["turbo"], guards=[needs], sync_to_thread=True)
    def teams(
        request: AnyRequest,
        limit: Annotated[
            int, QueryParameter(name="limit", ge=1, le=_LIMIT_MOST, description="Teams at most.")
        ] = 100,
    ) -> LinkedTeams:
        """The teams that the token may be used in."""
        return LinkedTeams(teams_of(accounts, authenticated_token(request))[:limit])

    @get(
        "/v2/teams/{team:str}",
        operation_id="showTeam",
        tags=["turbo"],
        guards=[needs],
        sync_to_thread=True,
    )
    def team(request: AnyRequest, team: FromPath[str]) -> LinkedTeam:
        """One of them, by id or slug."""
        for found in teams_of(accounts, authenticated_token(request)):
            if team in (found.id, found.slug):
                return found
        raise Forbidden(_NO_TEAM)

    return [user, teams, team]


def _token_api(
    accounts: AccountStore, authorizer: Authorizer, needs: RequirePermission
) -> list[HTTPRouteHandler]:
    @get(
        "/v5/user/tokens/current",
        operation_id="currentToken",
        tags=["turbo"],
        guards=[needs],
        sync_to_thread=True,
    )
    def current(request: AnyRequest) -> TokenAnswer:
        """The token itself."""
        return TokenAnswer(current_token(authenticated_token(request)))

    @delete(
        "/v3/user/tokens/current",
        operation_id="revokeCurrentToken",
        tags=["turbo"],
        guards=[needs],
        status_code=200,
        sync_to_thread=True,
    )
    def revoke(request: AnyRequest) -> Nothing:
        """End the token, if it is a person's."""
        token = authenticated_token(request)
        if token.user is None:
            raise Forbidden(_NO_PERSON)
        accounts.tokens.revoke(token, token.actor)
        authorizer.invalidate_cache()
        return Nothing()

    return [current, revoke]
