"""Teams of their own for tests, on one running server, with people who ask and change things."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import Scope, Token
from hitrate.cli.main import cli
from hitrate.clock import Clock
from hitrate.db.engine import open_database
from hitrate.teams.models import OPERATOR, Role, Team, User
from hitrate.teams.settings import MEASURES
from tests.support.client_operations import Build, Caller, Outcome, Turbo
from tests.support.server import Server

_ONE_COMMAND = threading.Lock()


class House:
    """A running server, and what makes teams on it."""

    def __init__(self, server: Server, accounts: AccountStore) -> None:
        self.server = server
        self.accounts = accounts
        self.turbo = Turbo()
        self.operator = accounts.tokens.create(None, "operator", lifetime_s=86400)[1]
        self._numbers = count()

    def stage(self) -> "Stage":
        """A new team that has used a little of everything."""
        return Stage(self, f"team-{next(self._numbers)}")


@contextmanager
def house_of(server: Server, clock: Clock | None = None) -> Iterator[House]:
    """The house of a server that is started, and killed in the end."""
    server.start()
    engine = open_database(server.data_dir)
    house = House(server, AccountStore(engine, clock or Clock()))
    yield house
    house.turbo.close()
    engine.dispose()
    server.kill()


class Stage:
    """A team with an owner, a developer and their colleague. The developer sends the requests:
    with `token`, naming the team as `named`."""

    def __init__(self, house: House, slug: str) -> None:
        self.house = house
        self.turbo = house.turbo
        self.team: Team = house.accounts.teams.create(slug)
        self.owner = self._person("owner", Role.OWNER)
        self.developer = self._person("developer", Role.DEVELOPER)
        self.owner_token = self._new_token(self.owner)[1]
        self.named = {"teamId": self.team.id, "slug": slug}
        colleague = self._person("colleague", Role.DEVELOPER)
        self.colleague = Caller(self._new_token(colleague)[1], self.named)
        self.token: str | None
        self.own_token, self.token = self._new_token(self.developer)
        self.kept = Build()
        for operation in ("uploadArtifact", "downloadArtifact", "recordEvents"):
            assert self.send(operation).refused is None

    @property
    def caller(self) -> Caller:
        return Caller(self.token, self.named)

    def send(self, operation: str, build: Build | None = None) -> Outcome:
        """What comes of one operation as turbo sends it."""
        return self.turbo.send(self.house.server, self.caller, build or self.kept, operation)

    def probe(self) -> int:
        """The status of a request that changes nothing."""
        refused = self.send("artifactExists").refused
        return refused[0] if refused else 200

    def api(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        """What the API answers to the owner, or to another token; `path` is below the team's."""
        path = path if path.startswith("/") else f"/v1/teams/{self.team.id}/{path}"
        given = {} if body is None else {"json": body}
        answer = self.house.server.request(method, path, token=token or self.owner_token, **given)
        assert answer.is_success, answer.text
        return answer.json()

    def command(self, line: str) -> None:
        """Run `hitrate` with a line in which {team}, {email} and {token} are the developer's."""
        given = {"team": self.team.slug, "email": self.developer.email, "token": self.own_token.id}
        folder = ["--data-dir", str(self.house.server.data_dir)]
        with _ONE_COMMAND:
            cli([*line.format(**given).split(), *folder], standalone_mode=False)

    def used(self) -> dict[str, int]:
        """What the team used in this cycle."""
        used: dict[str, int] = self.api("GET", "usage")["current"]["used"]
        return {name: used[name] for name in map(camel, MEASURES)}

    def recorded(self) -> set[str]:
        """The sessions of the team's recorded events."""
        events = self.house.server.events(slug=self.team.slug, token=self.owner_token)
        return {event["sessionId"] for event in events}

    def take_new_token(self, *scopes: Scope, lifetime_s: float | None = None) -> None:
        """From now on the developer sends another token, with all scopes or those named."""
        self.own_token, self.token = self._new_token(self.developer, *scopes, lifetime_s=lifetime_s)

    def _new_token(
        self, user: User, *scopes: Scope, lifetime_s: float | None = None
    ) -> tuple[Token, str]:
        return self.house.accounts.tokens.create(
            None, "", user=user, scopes=scopes or Scope, lifetime_s=lifetime_s
        )

    def _person(self, name: str, role: Role) -> User:
        accounts = self.house.accounts
        user = accounts.users.create(f"{name}@{self.team.slug}.example")
        accounts.members.add(self.team, user, role, OPERATOR)
        return user


def camel(name: str) -> str:
    """`storedBytes` for `stored_bytes`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
