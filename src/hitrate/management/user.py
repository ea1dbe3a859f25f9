"""Routes of the calling user: `/v1/user` and `/v1/user/tokens`."""

from typing import Annotated, cast

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import authenticated_token
from hitrate.auth.models import Permission, Scope, Token
from hitrate.clock import Clock
from hitrate.errors import BadRequest, Forbidden, NotFound
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.schemas import CreatedTokenResponse, TokenListResponse, TokenResponse
from hitrate.management.tokens import DEFAULT_ROTATION, NewToken, Rotation
from hitrate.roles import Role
from hitrate.teams.members import find_membership
from hitrate.teams.models import Actor, Member, Team, User


class MembershipResponse(msgspec.Struct, rename="camel"):
    """A team of the user, and the user's role in it."""

    id: str
    slug: str
    name: str
    role: Role
    remote_caching: bool

    @classmethod
    def from_member(cls, member: Member) -> "MembershipResponse":
        team = member.team
        return cls(team.id, team.slug, team.name, member.role, member.remote_caching)


class UserResponse(msgspec.Struct, rename="camel"):
    """A user and the user's teams."""

    id: str
    email: str
    username: str
    name: str
    teams: list[MembershipResponse]


class NewOwnToken(NewToken, rename="camel", forbid_unknown_fields=True):
    """A token of the user to create. `team`, an id or a slug, restricts it to one team."""

    team: Annotated[str, Meta(max_length=200)] | None = None


class _CurrentUser:
    """The user of the calling token, limited to the team of the token if it has one."""

    def __init__(self, accounts: AccountStore, token: Token) -> None:
        self._accounts = accounts
        self._token = token

    @classmethod
    def from_request(cls, request: AnyRequest, accounts: AccountStore) -> "_CurrentUser":
        return cls(accounts, authenticated_token(request))

    @property
    def actor(self) -> Actor:
        return self._token.actor

    @property
    def user(self) -> User:
        return cast("User", self._token.user)  # the permission ACCOUNT requires a user

    def memberships(self) -> list[Member]:
        team = self._token.team
        members = self._accounts.members.list_for_user(self.user)
        return [member for member in members if team is None or member.team.id == team.id]

    def tokens(self) -> list[Token]:
        team = self._token.team
        tokens = self._accounts.tokens.list_for_user(self.user)
        if team is None:
            return tokens
        return [token for token in tokens if token.team and token.team.id == team.id]

    def find_token(self, token_id: str) -> Token:
        """Raises NotFound."""
        for token in self.tokens():
            if token.id == token_id:
                return token
        raise NotFound(f"You have no token {token_id[:80]!a}.")

    def team_for_new_token(self, name: str | None) -> Team | None:
        """Return the team that a new token is restricted to; None is all of the user's teams.

        Raises BadRequest.
        """
        if name is None:
            return self._token.team
        member = find_membership(self.memberships(), name)
        if member is None:
            raise BadRequest(f"$.team is {name!a}; you are in no team with that id or slug.")
        return member.team

    def check_scopes(self, scopes: list[Scope]) -> None:
        """Raises Forbidden if the calling token lacks one of the scopes."""
        missing = sorted(set(scopes) - self._token.scopes)
        if missing:
            raise Forbidden(f"Your token itself lacks the scopes {', '.join(missing)}.")


@get(
    "/v1/user",
    operation_id="getUser",
    tags=["user"],
    permission=Permission.ACCOUNT,
)
@run_in_thread
def show_user(request: AnyRequest, accounts: NamedDependency[AccountStore]) -> UserResponse:
    """The calling user and the user's teams."""
    current = _CurrentUser.from_request(request, accounts)
    user = current.user
    teams = [MembershipResponse.from_member(member) for member in current.memberships()]
    return UserResponse(user.id, user.email, user.username, user.name, teams)


@get(
    "/v1/user/tokens",
    operation_id="listOwnTokens",
    tags=["user"],
    permission=Permission.ACCOUNT,
)
@run_in_thread
def list_own_tokens(
    request: AnyRequest, accounts: NamedDependency[AccountStore], clock: NamedDependency[Clock]
) -> TokenListResponse:
    """Your tokens, without their secrets."""
    now_ms = clock.now_ms()
    tokens = _CurrentUser.from_request(request, accounts).tokens()
    return TokenListResponse([TokenResponse.from_token(token, now_ms) for token in tokens])


@post(
    "/v1/user/tokens",
    operation_id="createOwnToken",
    tags=["user"],
    permission=Permission.ACCOUNT,
)
@run_in_thread
def create_own_token(
    request: AnyRequest, data: JSONBody[NewOwnToken], accounts: NamedDependency[AccountStore]
) -> CreatedTokenResponse:
    """Create a token of yours, for one team or for all of your teams."""
    current = _CurrentUser.from_request(request, accounts)
    lifetime_s, team = data.lifetime_s, current.team_for_new_token(data.team)
    current.check_scopes(data.scopes)
    token, secret = accounts.tokens.create(
        team,
        data.label,
        user=current.user,
        scopes=data.scopes,
        lifetime_s=lifetime_s,
        actor=current.actor,
    )
    return CreatedTokenResponse.from_secret(token, secret)


@post(
    "/v1/user/tokens/{token:str}/rotate",
    operation_id="rotateOwnToken",
    tags=["user"],
    permission=Permission.ACCOUNT,
)
@run_in_thread
def rotate_own_token(
    request: AnyRequest,
    token: FromPath[str],
    accounts: NamedDependency[AccountStore],
    authorizer: NamedDependency[Authorizer],
    data: JSONBody[Rotation] = DEFAULT_ROTATION,
) -> CreatedTokenResponse:
    """Replace one of your tokens by a new one. The old one expires after the overlap."""
    current, overlap_s = _CurrentUser.from_request(request, accounts), data.overlap_s
    old_token = current.find_token(token)
    current.check_scopes(sorted(old_token.scopes))
    new_token, secret = accounts.tokens.rotate(old_token, overlap_s, current.actor)
    authorizer.invalidate_cache()
    return CreatedTokenResponse.from_secret(new_token, secret)


@delete(
    "/v1/user/tokens/{token:str}",
    operation_id="revokeOwnToken",
    tags=["user"],
    permission=Permission.ACCOUNT,
    status_code=200,
)
@run_in_thread
def revoke_own_token(
    request: AnyRequest,
    token: FromPath[str],
    accounts: NamedDependency[AccountStore],
    authorizer: NamedDependency[Authorizer],
    clock: NamedDependency[Clock],
) -> TokenResponse:
    """Revoke one of your tokens immediately. Revoking it again changes nothing."""
    current = _CurrentUser.from_request(request, accounts)
    accounts.tokens.revoke(current.find_token(token), current.actor)
    authorizer.invalidate_cache()
    return TokenResponse.from_token(current.find_token(token), clock.now_ms())


HANDLERS = (show_user, list_own_tokens, create_own_token, rotate_own_token, revoke_own_token)
