"""The authorizer: who is asking, in which team, and may they?

What was looked up is remembered for two seconds, so a revoked token, a demoted member or a changed
setting counts within that time everywhere. An unknown team gives the same answer as one the token
may not use.
"""

import hmac
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

from hitrate.auth import token_secrets
from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import AuthContext, Permission, Scope, Token
from hitrate.auth.permissions import OPERATOR_PERMISSIONS, ROLES, scope_permissions
from hitrate.clock import Clock
from hitrate.errors import BadRequest, Forbidden, Unauthorized
from hitrate.teams.models import Member, Team, User

CACHE_TTL_MS = 2_000
_REMEMBER_MOST = 10_000
_LONGEST_REMEMBERED = 1000

_GrantKey = tuple[bytes, bytes, str | None, bool]

Key = TypeVar("Key")
Value = TypeVar("Value")

_NO_BEARER = "No token: send the header `Authorization: Bearer TOKEN`."
_UNKNOWN = (
    "The token is unknown, expired or revoked; get one with `turbo login` or "
    "`hitrate token create`."
)
_WRONG_TEAM = (
    "This token has no permission for the team that was asked for; "
    "check teamId and slug (TURBO_TEAM, TURBO_TEAMID) or use a token of that team."
)
_NO_TEAM = "You are in no team that this token is for; an owner of one lets you in."
_NAME_ONE = "Name the team by the query parameter `slug` or `teamId` (TURBO_TEAM, TURBO_TEAMID)."
_NOT_OWN = (
    "This is for a person's own account: it needs a token of theirs with the scope `admin`; the "
    "account page makes one."
)
_NOT_OPERATOR = "This is for the operator of the server: use the `hitrate` command beside it."


class _TeamSelector(NamedTuple):
    """The team that a request names: by `teamId`, by `slug`, in its path, or not at all."""

    ids: frozenset[str]
    slugs: frozenset[str]
    in_path: str | None

    @property
    def none(self) -> bool:
        return not self.ids and not self.slugs and self.in_path is None

    def matches(self, team: Team) -> bool:
        named = self.ids <= {team.id} and self.slugs <= {team.slug}
        return named and self.in_path in (None, team.id, team.slug)


def _team_selector(query_string: bytes, in_path: str | None) -> _TeamSelector:
    pairs = parse_qsl(query_string.decode("latin-1"))
    return _TeamSelector(
        frozenset(value for name, value in pairs if name == "teamId"),
        frozenset(value for name, value in pairs if name == "slug"),
        in_path,
    )


class Authorizer:
    """Admits a request or raises Unauthorized or Forbidden."""

    def __init__(self, accounts: AccountStore, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._tokens: dict[bytes, tuple[Token | None, int]] = {}
        self._grants: dict[_GrantKey, tuple[AuthContext, int]] = {}
        self._used: dict[str, int] = {}
        self._changes = 0

    def authorize(
        self,
        authorization: bytes | None,
        query_string: bytes,
        permission: Permission,
        in_path: str | None = None,
    ) -> AuthContext:
        """The auth for a request that acts in a team.

        `authorization` is the header's value; `query_string` may name the team by `teamId`,
        `slug`, both or neither, `in_path` by either. Raises Unauthorized, Forbidden, or BadRequest
        where no team is named and the token has not just one; only the status is then that of the
        first that lets it be seen.
        """
        digest, now_ms = _digest(authorization), self._clock.now_ms()
        # `turbo` up to 2.5 asks for the status before it knows a team.
        # Where one is named nothing differs, and what is remembered is so for all requests at once.
        any_team = permission is Permission.STATUS and not query_string
        key = digest, query_string, in_path, any_team
        known = self._grants.get(key)
        if known is None or abs(now_ms - known[1]) >= CACHE_TTL_MS:
            changes = self._changes
            token, since_ms = self._valid_token(authorization, digest, now_ms)
            auth = self._grant(token, _team_selector(query_string, in_path), any_team=any_team)
            short = len(query_string) + len(in_path or "") <= _LONGEST_REMEMBERED
            if short and changes == self._changes:
                _remember(self._grants, key, (auth, since_ms))
        else:
            auth = known[0]
            if not auth.token.valid_at(now_ms):
                raise Unauthorized(_UNKNOWN)
        if permission not in auth.permissions:
            raise Forbidden(_forbidden_message(auth, permission))
        self._used[auth.token.id] = now_ms
        return auth

    def authorize_operator(self, authorization: bytes | None) -> None:
        """Raises Unauthorized or Forbidden unless the token is the operator's."""
        if not self.authenticate(authorization).is_operator:
            raise Forbidden(_NOT_OPERATOR)

    def authenticate(self, authorization: bytes | None) -> Token:
        """The valid token that the header carries. Raises Unauthorized."""
        now_ms = self._clock.now_ms()
        token, _ = self._valid_token(authorization, _digest(authorization), now_ms)
        self._used[token.id] = now_ms
        return token

    def authenticate_for(self, authorization: bytes | None, permission: Permission) -> Token:
        """The valid token, for what concerns no team: PROFILE, or ACCOUNT for a person's own.

        Raises Unauthorized or Forbidden.
        """
        token = self.authenticate(authorization)
        if permission is Permission.ACCOUNT and (
            token.user is None or Scope.ADMIN not in token.scopes
        ):
            raise Forbidden(_NOT_OWN)
        return token

    def invalidate_cache(self) -> None:
        """Look everything up anew: something was changed in this process."""
        self._changes += 1  # what is being looked up meanwhile may be out of date
        self._tokens.clear()
        self._grants.clear()

    def drain_last_used(self) -> dict[str, int]:
        """When tokens, by id, were last used since the last call."""
        used, self._used = self._used, {}
        return used

    def restore_last_used(self, uses: dict[str, int]) -> None:
        """Have uses that were taken be taken again: they could not be written down."""
        self._used = uses | self._used

    def _valid_token(
        self, authorization: bytes | None, digest: bytes, now_ms: int
    ) -> tuple[Token, int]:
        """The token, and when it was looked up."""
        known = self._tokens.get(digest)
        if known is None or abs(now_ms - known[1]) >= CACHE_TTL_MS:
            if not token_secrets.well_formed(_secret(authorization)):
                raise Unauthorized(_UNKNOWN)
            changes = self._changes
            found = self._accounts.tokens.find(digest)
            known = (found[0] if found and hmac.compare_digest(found[1], digest) else None, now_ms)
            if changes == self._changes:
                _remember(self._tokens, digest, known)
        token, since_ms = known
        if token is None or not token.valid_at(now_ms):
            raise Unauthorized(_UNKNOWN)
        return token, since_ms

    def _grant(self, token: Token, selector: _TeamSelector, *, any_team: bool) -> AuthContext:
        if token.user is not None:
            member = self._membership(token, token.user, selector, any_team=any_team)
            permissions = ROLES[member.role] & scope_permissions(token.scopes)
            return AuthContext(member.team, token, permissions, member)
        if token.team is None:
            return AuthContext(self._any_team(selector), token, OPERATOR_PERMISSIONS)
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
            matching = [m for m in matching if Permission.STATUS in ROLES[m.role]][:1] or matching[
                :1
            ]
        if len(matching) == 1:
            return matching[0]
        if selector.none and len(matching) > 1:
            slugs = ", ".join(member.team.slug for member in matching)
            raise BadRequest(f"You are in several teams ({slugs}). {_NAME_ONE}")
        raise Forbidden(_NO_TEAM if selector.none else _WRONG_TEAM)

    def _any_team(self, selector: _TeamSelector) -> Team:
        if selector.none:
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
    """The token in the header's value. Raises Unauthorized when there is none."""
    if authorization is None:
        raise Unauthorized(_NO_BEARER)
    scheme, _, secret = authorization.partition(b" ")
    secret = secret.strip()
    if scheme.lower() != b"bearer" or not secret:
        raise Unauthorized(_NO_BEARER)
    return secret


def _digest(authorization: bytes | None) -> bytes:
    return token_secrets.digest(_secret(authorization))


def _forbidden_message(auth: AuthContext, permission: Permission) -> str:
    token, member = auth.token, auth.member
    if member is not None and permission not in ROLES[member.role]:
        why = f"the role {member.role} in the team {auth.team.slug} does not give"
    else:
        scopes = ", ".join(sorted(token.scopes)) or "none"
        why = f"the token's scopes ({scopes}) do not give; use a token that has it"
    return f"This needs the permission `{permission.value}`, which {why}."


def _remember(known: dict[Key, Value], key: Key, value: Value) -> None:
    if len(known) >= _REMEMBER_MOST:
        known.clear()
    known[key] = value
