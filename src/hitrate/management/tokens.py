"""Token routes of a team: `/v1/teams/{team}/tokens`."""

from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import current_auth
from hitrate.auth.models import AuthContext, Permission, Scope, Token
from hitrate.auth.permissions import READ_WRITE, scope_permissions
from hitrate.auth.tokens import TokenStore
from hitrate.clock import Clock
from hitrate.errors import Forbidden, NotFound
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.schemas import CreatedTokenResponse, TokenListResponse, TokenResponse
from hitrate.teams.models import Team
from hitrate.timeparse import parse_duration_param


class NewToken(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A token to create. `expires_in` is a duration such as 30d; null is no expiry."""

    label: Annotated[str, Meta(max_length=200)] = ""
    scopes: Annotated[list[Scope], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: sorted(READ_WRITE)
    )
    expires_in: str | None = None

    @property
    def lifetime_s(self) -> float | None:
        """Raises BadRequest if `expires_in` is not a duration."""
        if self.expires_in is None:
            return None
        return parse_duration_param("$.expiresIn", self.expires_in)


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to rotate a token. The old token stays valid for `overlap`, a duration such as 1h."""

    overlap: str = "1h"

    @property
    def overlap_s(self) -> float:
        """Raises BadRequest if `overlap` is not a duration."""
        return parse_duration_param("$.overlap", self.overlap)


DEFAULT_ROTATION = Rotation()


def _check_scopes(scopes: list[Scope], auth: AuthContext) -> None:
    """Raises Forbidden if a token with these scopes could do more than its creator."""
    excess = scope_permissions(scopes) - auth.permissions - {Permission.PROFILE, Permission.ACCOUNT}
    if excess:
        names = ", ".join(sorted(permission.value for permission in excess))
        raise Forbidden(
            f"A token with these scopes would have permissions that you lack ({names}). "
            "Request fewer scopes."
        )


def _find_token(tokens: TokenStore, team: Team, token_id: str) -> Token:
    """Raises NotFound."""
    for token in tokens.list_for_team(team):
        if token.id == token_id:
            return token
    raise NotFound(f"This team has no token {token_id[:80]!a}.")


@get(
    "/v1/teams/{team:str}/tokens",
    operation_id="listTeamTokens",
    tags=["tokens"],
    permission=Permission.TOKENS,
)
@run_in_thread
def list_tokens(
    request: AnyRequest, tokens: NamedDependency[TokenStore], clock: NamedDependency[Clock]
) -> TokenListResponse:
    """Tokens of the team without their secrets; tokens of its members are not included."""
    now_ms = clock.now_ms()
    team_tokens = tokens.list_for_team(current_auth(request).team)
    return TokenListResponse([TokenResponse.from_token(token, now_ms) for token in team_tokens])


@post(
    "/v1/teams/{team:str}/tokens",
    operation_id="createTeamToken",
    tags=["tokens"],
    permission=Permission.TOKENS,
)
@run_in_thread
def create_token(
    request: AnyRequest, data: JSONBody[NewToken], tokens: NamedDependency[TokenStore]
) -> CreatedTokenResponse:
    """Create a token of the team; it can do no more than its creator."""
    auth = current_auth(request)
    _check_scopes(data.scopes, auth)
    token, secret = tokens.create(
        auth.team, data.label, scopes=data.scopes, lifetime_s=data.lifetime_s, actor=auth.actor
    )
    return CreatedTokenResponse.from_secret(token, secret)


@post(
    "/v1/teams/{team:str}/tokens/{token:str}/rotate",
    operation_id="rotateTeamToken",
    tags=["tokens"],
    permission=Permission.TOKENS,
)
@run_in_thread
def rotate_token(
    request: AnyRequest,
    token: FromPath[str],
    tokens: NamedDependency[TokenStore],
    authorizer: NamedDependency[Authorizer],
    data: JSONBody[Rotation] = DEFAULT_ROTATION,
) -> CreatedTokenResponse:
    """Replace a token by a new one. The old one expires after the overlap."""
    auth = current_auth(request)
    old_token = _find_token(tokens, auth.team, token)
    _check_scopes(sorted(old_token.scopes), auth)
    new_token, secret = tokens.rotate(old_token, data.overlap_s, auth.actor)
    authorizer.invalidate_cache()
    return CreatedTokenResponse.from_secret(new_token, secret)


@delete(
    "/v1/teams/{team:str}/tokens/{token:str}",
    operation_id="revokeTeamToken",
    tags=["tokens"],
    permission=Permission.TOKENS,
    status_code=200,
)
@run_in_thread
def revoke_token(
    request: AnyRequest,
    token: FromPath[str],
    tokens: NamedDependency[TokenStore],
    authorizer: NamedDependency[Authorizer],
    clock: NamedDependency[Clock],
) -> TokenResponse:
    """Revoke a token immediately. Revoking it again changes nothing."""
    auth = current_auth(request)
    tokens.revoke(_find_token(tokens, auth.team, token), auth.actor)
    authorizer.invalidate_cache()
    return TokenResponse.from_token(_find_token(tokens, auth.team, token), clock.now_ms())


HANDLERS = (list_tokens, create_token, rotate_token, revoke_token)
