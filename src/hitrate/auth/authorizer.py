"""Authentication and authorization of requests: who calls, in which team, with which permissions.

Lookups are cached for two seconds. So a revoked token, a changed role or a changed setting takes
effect in every process within that time. The response for an unknown team is the same as for a team
that the token has no access to.
"""

import hmac
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

from hitrate.auth import tokens
from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import AuthContext, Permission, Scope, Token
from hitrate.auth.permissions import OPERATOR_PERMISSIONS, ROLE_PERMISSIONS, scope_permissions
from hitrate.clock import Clock
from hitrate.errors import BadRequest, Forbidden, Unauthorized
from hitrate.teams.models import Member, Team, User

CACHE_TTL_MS = 2_000
_MAX_CACHE_ENTRIES = 10_000
_MAX_CACHED_SELECTOR_LENGTH = 1000

_ContextKey = tuple[bytes, bytes, str | None, bool]

Key = TypeVar("Key")
Value = TypeVar("Value")

_NO_BEARER = "No token: send the header `Authorization: Bearer TOKEN`."
_UNKNOWN = (
    "The token is unknown, expired or revoked; get one with `turbo login` or "
    "`hitrate token create`."
)
_WRONG_TEAM = (
    "This token has no permission for the requested team; "
    "check teamId and slug (TURBO_TEAM, TURBO_TEAMID) or use a token of that team."
)
_NO_TEAM = "You are in no team that this token is for; ask a team owner to add you."
_NAME_ONE = "Name the team by the query parameter `slug` or `teamId` (TURBO_TEAM, TURBO_TEAMID)."
_NOT_OWN = (
    "This is for a user's own account: use a token of a user with the scope `admin`; create one on "
    "the account page."
)
_NOT_OPERATOR = "This is for the operator of the server: use the `hitrate` command on its machine."


class _TeamSelector(NamedTuple):
    """The team that a request names: by `teamId`, by `slug`, in its path, or not at all."""

    ids: frozenset[str]
    slugs: frozenset[str]
    in_path: str | None

    @property
    def is_empty(self) -> bool:
        return not self.ids and not self.slugs and self.in_path is None

    def matches(self, team: Team) -> bool:
        in_query = self.ids <= {team.id} and self.slugs <= {team.slug}
        return in_query and self.in_path in (None, team.id, team.slug)


def _team_selector(query_string: bytes, in_path: str | None) -> _TeamSelector:
    pairs = parse_qsl(query_string.decode("latin-1"))
    return _TeamSelector(
        frozenset(value for name, value in pairs if name == "teamId"),
        frozenset(value for name, value in pairs if name == "slug"),
        in_path,
    )


class Authorizer:
    """Authenticates the caller of a request and checks permissions."""

    def __init__(self, accounts: AccountStore, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._tokens: dict[bytes, tuple[Token | None, int]] = {}
        self._contexts: dict[_ContextKey, tuple[AuthContext, int]] = {}
        self._used: dict[str, int] = {}
        self._generation = 0

    def authorize(
        self,
        authorization: bytes | None,
        query_string: bytes,
        permission: Permission,
        in_path: str | None = None,
    ) -> AuthContext:
        """Return the authorization context of a request that acts in a team.

        `authorization` is the value of the header. `query_string` may name the team by `teamId`,
        `slug`, both or neither; `in_path` by either. Raises Unauthorized, Forbidden, or BadRequest
        if no team is named and the token is for several. For STATUS the first team that grants it
        is used instead.
        """
        digest, now_ms = _digest(authorization), self._clock.now_ms()
        # `turbo` up to 2.5 requests the status before it knows a team. With a team in the query
        # the result is the same for every permission, so one cache entry serves all requests.
        any_team = permission is Permission.STATUS and not query_string
        key = digest, query_string, in_path, any_team
        cached = self._contexts.get(key)
        if cached is None or abs(now_ms - cached[1]) >= CACHE_TTL_MS:
            generation = self._generation
            token, since_ms = self._valid_token(authorization, digest, now_ms)
            auth = self._context(token, _team_selector(query_string, in_path), any_team=any_team)
            short = len(query_string) + len(in_path or "") <= _MAX_CACHED_SELECTOR_LENGTH
            if short and generation == self._generation:
                _cache(self._contexts, key, (auth, since_ms))
        else:
            auth = cached[0]
            if not auth.token.valid_at(now_ms):
                raise Unauthorized(_UNKNOWN)
        if permission not in auth.permissions:
            raise Forbidden(_forbidden_message(auth, permission))
        self._used[auth.token.id] = now_ms
        return auth

    def authorize_operator(self, authorization: bytes | None) -> None:
        """Raise Unauthorized or Forbidden unless the token is the operator's."""
        if not self.authenticate(authorization).is_operator:
            raise Forbidden(_NOT_OPERATOR)

    def authenticate(self, authorization: bytes | None) -> Token:
        """Return the valid token in the header. Raises Unauthorized."""
        now_ms = self._clock.now_ms()
        token, _ = self._valid_token(authorization, _digest(authorization), now_ms)
        self._used[token.id] = now_ms
        return token

    def authenticate_for(self, authorization: bytes | None, permission: Permission) -> Token:
        """Return the valid token for a route that acts in no team.

        `permission` is PROFILE, or ACCOUNT for the account of the token's user. Raises
        Unauthorized or Forbidden.
        """
        token = self.authenticate(authorization)
        if permission is Permission.ACCOUNT and (
            token.user is None or Scope.ADMIN not in token.scopes
        ):
            raise Forbidden(_NOT_OWN)
        return token

    def invalidate_cache(self) -> None:
        """Clear the cache, so that a change by this process takes effect immediately."""
        self._generation += 1  # a lookup in progress may be outdated and must not be cached
        self._tokens.clear()
        self._contexts.clear()

    def drain_last_used(self) -> dict[str, int]:
        """Return when tokens were last used since the last call: UTC milliseconds by token id."""
        used, self._used = self._used, {}
        return used

    def restore_last_used(self, used_at_ms: dict[str, int]) -> None:
        """Put drained times back after a failure to save them."""
        self._used = used_at_ms | self._used

    def _valid_token(
        self, authorization: bytes | None, digest: bytes, now_ms: int
    ) -> tuple[Token, int]:
        """Return the token and the time of its lookup."""
        cached = self._tokens.get(digest)
        if cached is None or abs(now_ms - cached[1]) >= CACHE_TTL_MS:
            if not tokens.well_formed(_secret(authorization)):
                raise Unauthorized(_UNKNOWN)
            generation = self._generation
            match = self._accounts.tokens.find(digest)
            cached = (match[0] if match and hmac.compare_digest(match[1], digest) else None, now_ms)
            if generation == self._generation:
                _cache(self._tokens, digest, cached)
        token, since_ms = cached
        if token is None or not token.valid_at(now_ms):
            raise Unauthorized(_UNKNOWN)
        return token, since_ms

    def _context(self, token: Token, selector: _TeamSelector, *, any_team: bool) -> AuthContext:
        if token.user is not None:
            member = self._membership(token, token.user, selector, any_team=any_team)
            permissions = ROLE_PERMISSIONS[member.role] & scope_permissions(token.scopes)
            return AuthContext(member.team, token, permissions, member)
        if token.team is None:
            return AuthContext(self._find_team(selector), token, OPERATOR_PERMISSIONS)
        if not selector.matches(token.team):
            raise Forbidden(_WRONG_TEAM)
        return AuthContext(token.team, token, scope_permissions(token.scopes))

    def _membership(
        self, token: Token, user: User, selector: _TeamSelector, *, any_team: bool
    ) -> Member:
        members = self._accounts.members.list_for_user(user)
        if token.team is not None:
            members = [member for member in members if member.team.id == token.team.id]
        matching = [member for member in members if selector.matches(member.team)]
        if any_team:
            allowed = [m for m in matching if Permission.STATUS in ROLE_PERMISSIONS[m.role]]
            matching = (allowed or matching)[:1]
        if len(matching) == 1:
            return matching[0]
        if selector.is_empty and len(matching) > 1:
            slugs = ", ".join(member.team.slug for member in matching)
            raise BadRequest(f"You are in several teams ({slugs}). {_NAME_ONE}")
        raise Forbidden(_NO_TEAM if selector.is_empty else _WRONG_TEAM)

    def _find_team(self, selector: _TeamSelector) -> Team:
        """Return the team for the operator's token, which has access to every team."""
        if selector.is_empty:
            raise BadRequest(_NAME_ONE)
        slug, team_id = next(iter(selector.slugs), None), next(iter(selector.ids), None)
        find = self._accounts.teams.find
        if slug is None and team_id is None:
            team = find(team_id=selector.in_path) or find(slug=selector.in_path)
        else:
            team = find(slug=slug, team_id=team_id)
        if team is None or not selector.matches(team):
            raise Forbidden(_WRONG_TEAM)
        return team


def _secret(authorization: bytes | None) -> bytes:
    """Return the token in the value of the header. Raises Unauthorized if there is none."""
    if authorization is None:
        raise Unauthorized(_NO_BEARER)
    scheme, _, secret = authorization.partition(b" ")
    secret = secret.strip()
    if scheme.lower() != b"bearer" or not secret:
        raise Unauthorized(_NO_BEARER)
    return secret


def _digest(authorization: bytes | None) -> bytes:
    return tokens.digest(_secret(authorization))


def _forbidden_message(auth: AuthContext, permission: Permission) -> str:
    token, member = auth.token, auth.member
    if member is not None and permission not in ROLE_PERMISSIONS[member.role]:
        reason = f"the role {member.role} in the team {auth.team.slug} does not include"
    else:
        scopes = ", ".join(sorted(token.scopes)) or "none"
        reason = f"the token's scopes ({scopes}) do not include; use a token that has it"
    return f"This needs the permission `{permission.value}`, which {reason}."


def _cache(entries: dict[Key, Value], key: Key, value: Value) -> None:
    if len(entries) >= _MAX_CACHE_ENTRIES:
        entries.clear()
    entries[key] = value
