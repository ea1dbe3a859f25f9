"""Teams, tokens, and what a request may do once it is admitted."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Team:
    """A wall: nothing of one team is seen or changed by another's token."""

    id: str
    slug: str
    name: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: its secret is not here. `team` is None for the operator's."""

    id: str
    team: Team | None
    label: str
    read_only: bool
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None

    def valid_at(self, now_ms: int) -> bool:
        return self.revoked_at_ms is None and (
            self.expires_at_ms is None or now_ms < self.expires_at_ms
        )


class Access(Enum):
    """What a route needs. PUBLIC needs nothing; OPERATOR is whoever may read the data folder."""

    PUBLIC = "public"
    READ = "read"
    EVENTS = "events"
    WRITE = "write"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Grant:
    """An admitted request: the team it acts in and the token that let it in."""

    team: Team
    token_id: str
