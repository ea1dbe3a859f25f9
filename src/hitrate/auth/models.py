"""Tokens, scopes, permissions and the authenticated caller."""

from dataclasses import dataclass
from enum import Enum, StrEnum

from hitrate.teams.models import OPERATOR, Actor, Member, Team, User


class Permission(Enum):
    """What a route needs. Every route states one; `roles.py` says who has it.

    PUBLIC needs nothing; PROFILE any valid token; SESSION somebody who signed in to the pages;
    OPERATOR is whoever may read the data folder.
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
    """What a token may be used for; of what its user may do, a token allows no more."""

    READ = "read"
    WRITE = "write"
    EVENTS = "events"
    ANALYTICS = "analytics"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: its secret is not here.

    Of a team (`user` is None), of a person (in `team` only, or in all their teams when that is
    None), or the operator's (neither).
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

    @property
    def is_operator(self) -> bool:
        return self.team is None and self.user is None

    @property
    def actor(self) -> Actor:
        """The actor of a change made with this token."""
        if self.user is not None:
            return Actor.from_user(self.user)
        if self.team is None:
            return OPERATOR
        return Actor("token", self.id, self.label)

    def valid_at(self, now_ms: int) -> bool:
        return (
            self.revoked_at_ms is None
            and (self.expires_at_ms is None or now_ms < self.expires_at_ms)
            and (self.user is None or self.user.disabled_at_ms is None)
        )


@dataclass(frozen=True, slots=True)
class AuthContext:
    """An admitted request: the team it acts in, the token that let it in, and what it may do.
    `member` is who a person's token stands for."""

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
"""Who makes a person whom the identity provider vouches for."""
