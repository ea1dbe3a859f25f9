"""Teams, people and tokens in a database, with a clock that the test moves and a authorizer."""

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
    """A database with its stores, an authorizer and a manual clock."""

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
        """A new team."""
        return self.teams.create(slug or self._new_name("team"))

    def create_user(self, *memberships: Membership, email: str | None = None) -> User:
        """Somebody new, in these teams."""
        user = self.users.create(email or f"{self._new_name('person')}@example.com")
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
        """A new token and its secret."""
        return self.tokens.create(team, label, user=user, scopes=scopes, lifetime_s=lifetime_s)

    def members_by_id(self, team: Team) -> dict[str, Member]:
        """Everybody in a team as it is now, by id."""
        return {member.user.id: member for member in self.members.list_for_team(team)}

    def roles(self, team: Team) -> list[Role]:
        """The roles that are taken in a team."""
        return sorted(member.role for member in self.members_by_id(team).values())

    def audit_actions(self, team: Team | None = None) -> list[str]:
        """What the audit log says was done, oldest first."""
        entries = self.audit.page(team.id if team else None, 1000)
        return [entry.action for entry in reversed(entries)]

    @staticmethod
    def _new_name(kind: str) -> str:
        return f"{kind}-{secrets.token_hex(5)}"


def bearer(secret: str) -> bytes:
    """The value of the header."""
    return b"Bearer " + secret.encode()


def run_concurrently(*steps: Callable[[], object]) -> list[RequestError | None]:
    """Take all steps at one moment, each on a thread; what each was refused with, if it was."""
    barrier = threading.Barrier(len(steps))
    outcomes: list[RequestError | None] = [None] * len(steps)
    others: list[BaseException] = []

    def take(number: int, step: Callable[[], object]) -> None:
        barrier.wait()
        try:
            step()
        except RequestError as error:
            outcomes[number] = error
        except BaseException as error:
            others.append(error)

    threads = [threading.Thread(target=take, args=pair) for pair in enumerate(steps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not others, others
    return outcomes
