"""Teams, users and tokens in a database, with an authorizer and a manual clock."""

import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import Scope, Token
from hitrate.auth.permissions import READ_WRITE
from hitrate.clock import Clock, ManualClock
from hitrate.db.engine import open_database
from hitrate.errors import RequestError
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Member, Team, User

ALL_SCOPES = frozenset(Scope)
Membership = tuple[Team, Role]


class AccountFixture:
    """The account stores of a data directory, and shortcuts to create accounts in it."""

    def __init__(self, data_dir: Path, clock: Clock | None = None) -> None:
        self.data_dir = data_dir
        self.manual_clock = ManualClock()
        self.clock = clock or self.manual_clock
        self.engine = open_database(data_dir)
        self.accounts = AccountStore(self.engine, self.clock)
        self.teams = self.accounts.teams
        self.users = self.accounts.users
        self.members = self.accounts.members
        self.tokens = self.accounts.tokens
        self.audit = self.accounts.audit
        self.authorizer = Authorizer(self.accounts, self.clock)

    def close(self) -> None:
        self.engine.dispose()

    def create_team(self, slug: str | None = None) -> Team:
        """Create a team, by default with a random slug."""
        return self.teams.create(slug or self._random_name("team"))

    def create_user(self, *memberships: Membership, email: str | None = None) -> User:
        """Create a user with these memberships."""
        user = self.users.create(email or f"{self._random_name('user')}@example.com")
        for team, role in memberships:
            self.members.add(team, user, role, OPERATOR)
        return user

    def create_token(
        self,
        team: Team | None = None,
        user: User | None = None,
        scopes: Iterable[Scope] = READ_WRITE,
        label: str = "",
        lifetime_s: float | None = None,
    ) -> tuple[Token, str]:
        """Create a token and return it with its secret."""
        return self.tokens.create(team, label, user=user, scopes=scopes, lifetime_s=lifetime_s)

    def members_by_id(self, team: Team) -> dict[str, Member]:
        """Return the current members of a team by user id."""
        return {member.user.id: member for member in self.members.list_for_team(team)}

    def roles(self, team: Team) -> list[Role]:
        """Return the roles of a team's members, sorted."""
        return sorted(member.role for member in self.members_by_id(team).values())

    def audit_actions(self, team: Team | None = None) -> list[str]:
        """Return the recorded actions of a team, or of all teams, oldest first."""
        entries = self.audit.page(team.id if team else None, 1000)
        return [entry.action for entry in reversed(entries)]

    @staticmethod
    def _random_name(kind: str) -> str:
        return f"{kind}-{secrets.token_hex(5)}"


def bearer(secret: str) -> bytes:
    """Return the value of the Authorization header."""
    return b"Bearer " + secret.encode()


def run_concurrently(*steps: Callable[[], object]) -> list[RequestError | None]:
    """Run each step on its own thread, all started together.

    Returns the RequestError of each step, or None. Fails for any other exception.
    """
    barrier = threading.Barrier(len(steps))
    outcomes: list[RequestError | None] = [None] * len(steps)
    unexpected: list[BaseException] = []

    def run(index: int, step: Callable[[], object]) -> None:
        barrier.wait()
        try:
            step()
        except RequestError as error:
            outcomes[index] = error
        except BaseException as error:
            unexpected.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(steps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not unexpected, unexpected
    return outcomes
