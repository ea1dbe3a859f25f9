"""People, teams, tokens, and what a request may do once it is admitted."""

from dataclasses import dataclass

from hitrate.roles import Role
from hitrate.teams.settings import TeamSettings


@dataclass(frozen=True, slots=True)
class Team:
    """A wall: nothing of one team is seen or changed by another's token."""

    id: str
    slug: str
    name: str
    created_at_ms: int
    settings: TeamSettings = TeamSettings()


@dataclass(frozen=True, slots=True)
class User:
    """A person. One without a password signs in through the identity provider only."""

    id: str
    email: str
    username: str
    name: str
    created_at_ms: int
    disabled_at_ms: int | None
    has_password: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a team. `remote_caching` False shuts the cache for them alone."""

    team: Team
    user: User
    role: Role
    remote_caching: bool
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: `kind` is user, token or operator."""

    kind: str
    id: str
    name: str

    @classmethod
    def from_user(cls, user: User) -> "Actor":
        """The actor of a change made by a user."""
        return cls("user", user.id, user.email)


OPERATOR = Actor("operator", "operator", "operator")
