"""Login from the terminal with `turbo login`: the tokens that the browser brings back to turbo."""

from collections.abc import Mapping

import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import TokenOrigin
from hitrate.auth.permissions import READ_WRITE
from hitrate.auth.sessions import OneTimeStore, Sessions
from hitrate.auth.tokens import MAX_LABEL_LENGTH
from hitrate.errors import BadRequest, Forbidden, Unauthorized
from hitrate.http.redirects import loopback_url, with_query
from hitrate.teams.members import find_membership
from hitrate.teams.models import Actor, Team, User

DEFAULT_LABEL = "turbo login"
_MAX_STATE_LENGTH = 1024
_VERIFICATION = "verify"
_VERIFICATION_TTL_S = 5 * 60


class Callback(msgspec.Struct):
    """Where turbo, on the user's computer, waits for the browser."""

    url: str
    state: str | None

    @classmethod
    def from_query(cls, query: Mapping[str, str], parameter: str) -> "Callback":
        """Read the callback from query parameters; `parameter` has its URL. Raises BadRequest."""
        url = loopback_url(query.get(parameter), parameter)
        state = query.get("state")
        if state is not None and len(state) > _MAX_STATE_LENGTH:
            raise BadRequest(f"state has more than {_MAX_STATE_LENGTH} characters.")
        return cls(url, state)

    def with_parameters(self, **parameters: str) -> str:
        """Return the URL with these query parameters and the state."""
        state = {} if self.state is None else {"state": self.state}
        return with_query(self.url, parameters | state)


class Verification(msgspec.Struct):
    """The user and team for whom a verification token was issued."""

    user_id: str
    team_id: str


class VerifiedLogin(msgspec.Struct, rename="camel"):
    """A token for one team, with its secret, which is never returned again."""

    token: str
    team_id: str


class TurboLogin:
    """Issues tokens for `turbo login`. Safe to use from several threads and processes."""

    def __init__(
        self,
        accounts: AccountStore,
        sessions: Sessions,
        one_time_store: OneTimeStore,
        token_ttl_s: float | None,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._one_time_store = one_time_store
        self.token_ttl_s = token_ttl_s

    def find_team(self, user: User, name: str) -> Team:
        """Return the user's team with this id or slug. Raises Forbidden if there is none."""
        if member := find_membership(self._accounts.members.list_for_user(user), name):
            return member.team
        raise Forbidden(
            f"{user.email} is not in the team {name[:100]!r}. Check the value of --sso-team, or "
            "ask an owner of the team to add you."
        )

    def create_token(
        self,
        user: User,
        team: Team | None = None,
        label: str = DEFAULT_LABEL,
        origin: TokenOrigin = TokenOrigin.LOGIN,
    ) -> str:
        """Create a token for one team, or for all teams of the user, and return its secret."""
        _, secret = self._accounts.tokens.create(
            team,
            label,
            user=user,
            scopes=READ_WRITE,
            lifetime_s=self.token_ttl_s,
            actor=Actor.from_user(user),
            origin=origin,
        )
        return secret

    def create_verification(self, user: User, team: Team) -> str:
        """Return a verification token, which `verify` accepts once, within five minutes."""
        return self._one_time_store.put(
            _VERIFICATION, Verification(user.id, team.id), _VERIFICATION_TTL_S
        )

    def verify(self, verification_token: str, label: str) -> VerifiedLogin:
        """Exchange a verification token for a token of its team.

        Raises Unauthorized if the token is not valid, Forbidden if its user has left the team.
        """
        verification = self._one_time_store.pop(_VERIFICATION, verification_token, Verification)
        user = None if verification is None else self._sessions.find_user(verification.user_id)
        if verification is None or user is None:
            raise Unauthorized(
                "The verification token is unknown, used or expired; run `turbo login` again."
            )
        team = self.find_team(user, verification.team_id)
        printable = "".join(c for c in label if c.isprintable())[:MAX_LABEL_LENGTH].strip()
        secret = self.create_token(user, team, printable or DEFAULT_LABEL, TokenOrigin.SSO)
        return VerifiedLogin(secret, team.id)
