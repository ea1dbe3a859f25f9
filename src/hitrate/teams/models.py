"""Teams, users, members and the actors of the audit log."""

from dataclasses import dataclass

from hitrate.roles import Role
from hitrate.teams.settings import TeamSettings


@dataclass(frozen=True, slots=True)
class Team:
    """The unit of isolation: a token of one team never reads or changes data of another."""

    id: str
    slug: str
    name: str
    created_at_ms: int
    settings: TeamSettings = TeamSettings()


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. Without a password, they log in through the identity provider."""

    id: str
    email: str
    username: str
    name: str
    created_at_ms: int
    disabled_at_ms: int | None
    has_password: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a team. With `remote_caching` False, the cache is disabled for this member only."""

    team: Team
    user: User
    role: Role
    remote_caching: bool
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change. `kind` is `user`, `token`, `operator` or `system`."""

    kind: str
    id: str
    name: str

    @classmethod
    def from_user(cls, user: User) -> "Actor":
        """Return the actor of changes made by a user."""
        return cls("user", user.id, user.email)


OPERATOR = Actor("operator", "operator", "operator")
