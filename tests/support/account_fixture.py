"""Teams, people and tokens in a database, with a clock that the test moves and a gate."""

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
from hitrate.teams.models import OPERATOR, Member, Role, Team, User

ALL_SCOPES = frozenset(Scope)
Place = tuple[Team, Role]


class Town:
    """Its parts are `accounts` and `gate`; `close` it at the end."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.time = ManualClock()
        self.clock = clock or self.time
        self.engine = open_database(folder)
        self.accounts = AccountStore(self.engine, self.clock)
        self.gate = Authorizer(self.accounts, self.clock)

    def close(self) -> None:
        self.engine.dispose()

    def team(self, slug: str | None = None) -> Team:
        """A new team."""
        return self.accounts.teams.create(slug or self._new_name("team"))

    def person(self, *places: Place, email: str | None = None) -> User:
        """Somebody new, in these teams."""
        user = self.accounts.users.create(email or f"{self._new_name('person')}@example.com")
        for team, role in places:
            self.accounts.members.add(team, user, role, OPERATOR)
        return user

    def token(
        self,
        team: Team | None = None,
        user: User | None = None,
        scopes: Iterable[Scope] = READ_WRITE,
        label: str = "",
        lifetime_s: float | None = None,
    ) -> tuple[Token, str]:
        """A new token and its secret."""
        return self.accounts.tokens.create(
            team, label, user=user, scopes=scopes, lifetime_s=lifetime_s
        )

    def members(self, team: Team) -> dict[str, Member]:
        """Everybody in a team as it is now, by id."""
        return {member.user.id: member for member in self.accounts.members.of_team(team)}

    def roles(self, team: Team) -> list[Role]:
        """The roles that are taken in a team."""
        return sorted(member.role for member in self.members(team).values())

    def noted(self, team: Team | None = None) -> list[str]:
        """What the audit log says was done, oldest first."""
        entries = self.accounts.audit.page(team.id if team else None, 1000)
        return [entry.action for entry in reversed(entries)]

    @staticmethod
    def _new_name(kind: str) -> str:
        return f"{kind}-{secrets.token_hex(5)}"


def bearer(secret: str) -> bytes:
    """The value of the header."""
    return b"Bearer " + secret.encode()


def at_once(*steps: Callable[[], object]) -> list[RequestError | None]:
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
