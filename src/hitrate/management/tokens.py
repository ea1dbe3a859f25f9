"""Tokens of a team: `/v1/teams/{team}/tokens`; and what they share with a person's own."""

from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from hitrate.auth.guards import current_auth
from hitrate.auth.models import AuthContext, Permission, Scope, Token
from hitrate.auth.permissions import READ_WRITE, scope_permissions
from hitrate.errors import Forbidden, NotFound
from hitrate.management.schemas import TokenInfo, token_info
from hitrate.management.services import AccountServices, duration_s
from hitrate.management.settings import AnyRequest


class MadeToken(TokenInfo, kw_only=True):
    """A token that was just made. `token`, the secret, is not shown again."""

    token: str


class Tokens(msgspec.Struct):
    """By age."""

    tokens: list[TokenInfo]


class NewToken(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """`expires_in`: a duration, such as 30d; without it the token does not end by itself."""

    label: Annotated[str, Meta(max_length=200)] = ""
    scopes: Annotated[list[Scope], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: sorted(READ_WRITE)
    )
    expires_in: str | None = None


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old token goes on beside the new one."""

    overlap: str = "1h"


AN_HOUR = Rotation()
"""Where nothing is said."""


def made_token(token: Token, secret: str) -> MadeToken:
    """What is shown once."""
    info = token_info(token, token.created_at_ms)
    return MadeToken(**msgspec.structs.asdict(info), token=secret)


def check_scopes(scopes: list[Scope], auth: AuthContext) -> None:
    """Raises Forbidden where a token would be able to do more than who makes it."""
    beyond = scope_permissions(scopes) - auth.permissions - {Permission.PROFILE, Permission.ACCOUNT}
    if beyond:
        names = ", ".join(sorted(access.value for access in beyond))
        raise Forbidden(
            f"A token with these scopes could do what you cannot ({names}); ask for fewer scopes."
        )


def team_token_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    store, needs = office.accounts.tokens, office.needs(Permission.TOKENS)

    def of_team(auth: AuthContext, token_id: str) -> Token:
        for token in store.list_for_team(auth.team):
            if token.id == token_id:
                return token
        raise NotFound(f"This team has no token {token_id[:80]!a}.")

    @get(
        "/v1/teams/{team:str}/tokens",
        operation_id="listTeamTokens",
        tags=["tokens"],
        guards=[needs],
        sync_to_thread=True,
    )
    def tokens(request: AnyRequest) -> Tokens:
        """The team's tokens, without their secrets; not those of its members."""
        now_ms = office.clock.now_ms()
        found = store.list_for_team(current_auth(request).team)
        return Tokens([token_info(token, now_ms) for token in found])

    @post(
        "/v1/teams/{team:str}/tokens",
        operation_id="createTeamToken",
        tags=["tokens"],
        guards=[needs],
        sync_to_thread=True,
    )
    def create(request: AnyRequest, data: JSONBody[NewToken]) -> MadeToken:
        """Make a token of the team, which can do no more than who makes it."""
        auth = current_auth(request)
        check_scopes(data.scopes, auth)
        lifetime_s = None if data.expires_in is None else duration_s(data.expires_in, "expiresIn")
        made = store.create(
            auth.team, data.label, scopes=data.scopes, lifetime_s=lifetime_s, actor=auth.actor
        )
        return made_token(*made)

    @post(
        "/v1/teams/{team:str}/tokens/{token:str}/rotate",
        operation_id="rotateTeamToken",
        tags=["tokens"],
        guards=[needs],
        sync_to_thread=True,
    )
    def rotate(
        request: AnyRequest, token: FromPath[str], data: JSONBody[Rotation] = AN_HOUR
    ) -> MadeToken:
        """Make a token that takes the place of another, which ends after the overlap."""
        auth = current_auth(request)
        old = of_team(auth, token)
        check_scopes(sorted(old.scopes), auth)
        made = store.rotate(old, duration_s(data.overlap, "overlap"), auth.actor)
        office.authorizer.invalidate_cache()
        return made_token(*made)

    @delete(
        "/v1/teams/{team:str}/tokens/{token:str}",
        operation_id="revokeTeamToken",
        tags=["tokens"],
        guards=[needs],
        status_code=200,
        sync_to_thread=True,
    )
    def revoke(request: AnyRequest, token: FromPath[str]) -> TokenInfo:
        """End a token at once. Revoking twice is no error."""
        auth = current_auth(request)
        store.revoke(of_team(auth, token), auth.actor)
        office.authorizer.invalidate_cache()
        return token_info(of_team(auth, token), office.clock.now_ms())

    return [tokens, create, rotate, revoke]
