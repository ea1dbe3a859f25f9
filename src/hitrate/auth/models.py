"""Tokens, scopes, permissions and the authenticated caller of a request."""

from dataclasses import dataclass
from enum import Enum, StrEnum

from hitrate.teams.models import OPERATOR, Actor, Member, Team, User


class Permission(Enum):
    """The right that a route requires. `auth.permissions` states which roles and scopes grant it.

    PUBLIC requires nothing, PROFILE any valid token, SESSION a browser session, and OPERATOR the
    token of the operator.
    """

    PUBLIC = "public"
    PROFILE = "profile"
    STATUS = "status"
    READ = "read"
    WRITE = "write"
    EVENTS = "events"
    ANALYTICS = "analytics"
    TEAM = "team"
    USAGE = "usage"
    TOKENS = "tokens"
    MEMBERS = "members"
    SETTINGS = "settings"
    BILLING = "billing"
    AUDIT = "audit"
    ACCOUNT = "account"
    SESSION = "session"
    OPERATOR = "operator"


class Scope(StrEnum):
    """A use that a token is limited to. It never exceeds the permissions of its user's role."""

    READ = "read"
    WRITE = "write"
    EVENTS = "events"
    ANALYTICS = "analytics"
    ADMIN = "admin"


class TokenOrigin(StrEnum):
    """How a token was created. A rotated token keeps its origin.

    MANUAL: with a command, the API or a page. LOGIN: by `turbo login`. SSO: by
    `turbo login --sso-team`.
    """

    MANUAL = "manual"
    LOGIN = "login"
    SSO = "sso"


@dataclass(frozen=True, slots=True)
class Token:
    """A stored token, without its secret. Times are UTC milliseconds.

    A token belongs to a team (`user` is None), to a user (for one team, or for all teams of the
    user if `team` is None), or to the operator (both are None). `replaced_by` is the id of the
    token that replaced it in a rotation.
    """

    id: str
    team: Team | None
    user: User | None
    label: str
    scopes: frozenset[Scope]
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    used_at_ms: int | None
    origin: TokenOrigin = TokenOrigin.MANUAL
    replaced_by: str | None = None

    @property
    def is_operator(self) -> bool:
        return self.team is None and self.user is None

    @property
    def actor(self) -> Actor:
        """The actor that the audit log records for changes made with this token."""
        if self.user is not None:
            return Actor.from_user(self.user)
        if self.team is None:
            return OPERATOR
        return Actor("token", self.id, self.label)

    def valid_at(self, now_ms: int) -> bool:
        """Return whether the token is neither expired nor revoked and its user is not disabled."""
        return (
            self.revoked_at_ms is None
            and (self.expires_at_ms is None or now_ms < self.expires_at_ms)
            and (self.user is None or self.user.disabled_at_ms is None)
        )


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The authenticated and authorized caller of a request that acts in a team.

    `member` is the membership of the token's user; it is None for other tokens.
    """

    team: Team
    token: Token
    permissions: frozenset[Permission]
    member: Member | None = None

    @property
    def token_id(self) -> str:
        return self.token.id

    @property
    def actor(self) -> Actor:
        return self.token.actor


SINGLE_SIGN_ON = Actor("system", "single-sign-on", "single sign-on")
"""The actor that creates the account of a user at their first single sign-on."""
