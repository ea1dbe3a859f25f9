"""The gate: who is asking, in which team, and may they?

A token that was looked up is remembered for two seconds, so a revoked one stops working within
that time everywhere. An unknown team gives the same answer as one the token may not use.
"""

import hmac
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from hitrate.accounts import tokens
from hitrate.accounts.model import Access, Grant, Team, Token
from hitrate.accounts.store import AccountStore
from hitrate.clock import Clock
from hitrate.errors import BadRequest, Forbidden, Unauthorized

_REMEMBER_MS = 2_000
_REMEMBER_MOST = 10_000

_NO_BEARER = "No token: send the header `Authorization: Bearer TOKEN`."
_UNKNOWN = "The token is unknown, expired or revoked; make one with `hitrate token create`."
_WRONG_TEAM = (
    "This token has no permission for the team that was asked for; "
    "check teamId and slug (TURBO_TEAM, TURBO_TEAMID) or use a token of that team."
)
_READ_ONLY = "This token is read-only: it may not change the cache. Use one that may write."
_NOT_OPERATOR = "This is for the operator of the server: use the `hitrate` command beside it."


class _TeamQuery(NamedTuple):
    ids: frozenset[str]
    slugs: frozenset[str]


@lru_cache(maxsize=1024)
def _team_query(query_string: bytes) -> _TeamQuery:
    pairs = parse_qsl(query_string.decode("latin-1"))
    return _TeamQuery(
        frozenset(value for name, value in pairs if name == "teamId"),
        frozenset(value for name, value in pairs if name == "slug"),
    )


class Gate:
    """Admits a request or raises Unauthorized or Forbidden."""

    def __init__(self, accounts: AccountStore, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._known: dict[bytes, tuple[Token | None, int]] = {}

    def admit(self, authorization: bytes | None, query_string: bytes, need: Access) -> Grant:
        """The grant for a request that acts in a team.

        `authorization` is the header's value; `query_string` may name the team by `teamId`,
        `slug`, both or neither. Raises Unauthorized, Forbidden, or BadRequest for an operator
        who names no team.
        """
        token = self.identify(authorization)
        wanted = _team_query(query_string)
        team = token.team or self._team_for_operator(wanted)
        if not (wanted.ids <= {team.id} and wanted.slugs <= {team.slug}):
            raise Forbidden(_WRONG_TEAM)
        if need is Access.WRITE and token.read_only:
            raise Forbidden(_READ_ONLY)
        return Grant(team, token.id)

    def admit_operator(self, authorization: bytes | None) -> None:
        """Raises Unauthorized or Forbidden unless the token is the operator's."""
        if self.identify(authorization).team is not None:
            raise Forbidden(_NOT_OPERATOR)

    def identify(self, authorization: bytes | None) -> Token:
        """The valid token that the header carries. Raises Unauthorized."""
        if authorization is None:
            raise Unauthorized(_NO_BEARER)
        scheme, _, secret = authorization.partition(b" ")
        secret = secret.strip()
        if scheme.lower() != b"bearer" or not secret:
            raise Unauthorized(_NO_BEARER)
        now_ms = self._clock.now_ms()
        token = self._look_up(secret, now_ms)
        if token is None or not token.valid_at(now_ms):
            raise Unauthorized(_UNKNOWN)
        return token

    def _look_up(self, secret: bytes, now_ms: int) -> Token | None:
        digest = tokens.digest(secret)
        known = self._known.get(digest)
        if known is not None and abs(now_ms - known[1]) < _REMEMBER_MS:
            return known[0]
        if not tokens.well_formed(secret):
            return None
        found = self._accounts.find_token(digest)
        token = found[0] if found and hmac.compare_digest(found[1], digest) else None
        if len(self._known) >= _REMEMBER_MOST:
            self._known.clear()
        self._known[digest] = (token, now_ms)
        return token

    def _team_for_operator(self, wanted: _TeamQuery) -> Team:
        if len(wanted.ids) + len(wanted.slugs) == 0:
            raise BadRequest("Name the team by the query parameter `slug` or `teamId`.")
        team = self._accounts.team(
            slug=next(iter(wanted.slugs), None), team_id=next(iter(wanted.ids), None)
        )
        if team is None:
            raise Forbidden(_WRONG_TEAM)
        return team
