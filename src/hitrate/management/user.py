"""A person's own account: `/v1/user` and their tokens."""

from typing import Annotated, cast

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from hitrate.auth.guards import authenticated_token
from hitrate.auth.models import Permission, Scope, Token
from hitrate.errors import BadRequest, Forbidden, NotFound
from hitrate.management.schemas import TokenInfo, token_info
from hitrate.management.services import AccountServices, duration_s
from hitrate.management.settings import AnyRequest
from hitrate.management.tokens import AN_HOUR, MadeToken, NewToken, Rotation, Tokens, made_token
from hitrate.roles import Role
from hitrate.teams.members import find_membership
from hitrate.teams.models import Member, Team, User


class Membership(msgspec.Struct, rename="camel"):
    """One of a person's teams."""

    id: str
    slug: str
    name: str
    role: Role
    remote_caching: bool


class UserInfo(msgspec.Struct, rename="camel"):
    """A person and their teams."""

    id: str
    email: str
    username: str
    name: str
    teams: list[Membership]


class NewOwnToken(NewToken, rename="camel", forbid_unknown_fields=True):
    """`team`, an id or a slug, confines the token to one team."""

    team: Annotated[str, Meta(max_length=200)] | None = None


class _Own:
    """What belongs to the person who asks; to a token for one team, only what is that team's."""

    def __init__(self, office: AccountServices, token: Token) -> None:
        self._accounts = office.accounts
        self._token = token
        self.actor = token.actor

    @property
    def user(self) -> User:
        return cast("User", self._token.user)  # the guard admits people only

    def memberships(self) -> list[Member]:
        confined = self._token.team
        members = self._accounts.members.list_for_user(self.user)
        return [m for m in members if confined is None or m.team.id == confined.id]

    def tokens(self) -> list[Token]:
        confined = self._token.team
        tokens = self._accounts.tokens.list_for_user(self.user)
        return [t for t in tokens if confined is None or (t.team and t.team.id == confined.id)]

    def token(self, token_id: str) -> Token:
        for token in self.tokens():
            if token.id == token_id:
                return token
        raise NotFound(f"You have no token {token_id[:80]!a}.")

    def team(self, name: str | None) -> Team | None:
        """The team that a new token is to be for; None is all of the person's."""
        if name is None:
            return self._token.team
        if member := find_membership(self.memberships(), name):
            return member.team
        raise BadRequest(f"$.team is {name!a}; you are in no team of that id or slug.")

    def scopes(self, wanted: list[Scope]) -> list[Scope]:
        """A token makes none that could do more than itself."""
        beyond = sorted(set(wanted) - self._token.scopes)
        if beyond:
            raise Forbidden(f"Your token lacks the scopes {', '.join(beyond)} itself.")
        return wanted


def user_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    store, needs = office.accounts.tokens, office.needs(Permission.ACCOUNT)

    def own(request: AnyRequest) -> _Own:
        return _Own(office, authenticated_token(request))

    @get(
        "/v1/user",
        operation_id="getUser",
        tags=["user"],
        guards=[needs],
        sync_to_thread=True,
    )
    def show(request: AnyRequest) -> UserInfo:
        """Who you are, and in which teams."""
        mine = own(request)
        user = mine.user
        teams = [
            Membership(m.team.id, m.team.slug, m.team.name, m.role, m.remote_caching)
            for m in mine.memberships()
        ]
        return UserInfo(user.id, user.email, user.username, user.name, teams)

    @get(
        "/v1/user/tokens",
        operation_id="listOwnTokens",
        tags=["user"],
        guards=[needs],
        sync_to_thread=True,
    )
    def tokens(request: AnyRequest) -> Tokens:
        """Your tokens, without their secrets."""
        now_ms = office.clock.now_ms()
        return Tokens([token_info(token, now_ms) for token in own(request).tokens()])

    @post(
        "/v1/user/tokens",
        operation_id="createOwnToken",
        tags=["user"],
        guards=[needs],
        sync_to_thread=True,
    )
    def create(request: AnyRequest, data: JSONBody[NewOwnToken]) -> MadeToken:
        """Make a token of yours: for one team, or for all that you are in."""
        mine = own(request)
        lifetime_s = None if data.expires_in is None else duration_s(data.expires_in, "expiresIn")
        made = store.create(
            mine.team(data.team),
            data.label,
            user=mine.user,
            scopes=mine.scopes(data.scopes),
            lifetime_s=lifetime_s,
            actor=mine.actor,
        )
        return made_token(*made)

    @post(
        "/v1/user/tokens/{token:str}/rotate",
        operation_id="rotateOwnToken",
        tags=["user"],
        guards=[needs],
        sync_to_thread=True,
    )
    def rotate(
        request: AnyRequest, token: FromPath[str], data: JSONBody[Rotation] = AN_HOUR
    ) -> MadeToken:
        """Make a token that takes the place of another, which ends after the overlap."""
        mine, overlap_s = own(request), duration_s(data.overlap, "overlap")
        old = mine.token(token)
        mine.scopes(sorted(old.scopes))
        made = store.rotate(old, overlap_s, mine.actor)
        office.authorizer.invalidate_cache()
        return made_token(*made)

    @delete(
        "/v1/user/tokens/{token:str}",
        operation_id="revokeOwnToken",
        tags=["user"],
        guards=[needs],
        status_code=200,
        sync_to_thread=True,
    )
    def revoke(request: AnyRequest, token: FromPath[str]) -> TokenInfo:
        """End one of your tokens at once."""
        mine = own(request)
        store.revoke(mine.token(token), mine.actor)
        office.authorizer.invalidate_cache()
        return token_info(mine.token(token), office.clock.now_ms())

    return [show, tokens, create, rotate, revoke]
