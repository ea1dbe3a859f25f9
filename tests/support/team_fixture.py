"""Teams on a running server, with users that send requests and change settings."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import Scope, Token
from hitrate.cli.main import cli
from hitrate.clock import Clock
from hitrate.db.engine import open_database
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team, User
from hitrate.teams.settings import Limits
from tests.support.client_operations import Credentials, Outcome, SampleBuild, Turbo
from tests.support.server import Server

_COMMAND_LOCK = threading.Lock()

WIRE_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(Limits)}
"""JSON names of the measures by field name."""


class TeamServer:
    """A running server on which each test creates teams of its own."""

    def __init__(self, server: Server, accounts: AccountStore) -> None:
        self.server = server
        self.accounts = accounts
        self.turbo = Turbo()
        self.operator_token = accounts.tokens.create(None, "operator", lifetime_s=86400)[1]
        self._numbers = count()

    def create_team(self) -> "TeamFixture":
        """Create a team that has used some of each measure."""
        return TeamFixture(self, f"team-{next(self._numbers)}")


@contextmanager
def run_team_server(server: Server, clock: Clock | None = None) -> Iterator[TeamServer]:
    """Start a server; kill it when the `with` block ends."""
    server.start()
    engine = open_database(server.data_dir)
    team_server = TeamServer(server, AccountStore(engine, clock or Clock()))
    yield team_server
    team_server.turbo.close()
    engine.dispose()
    server.kill()


class TeamFixture:
    """A team with an owner, a developer and a colleague of the developer.

    The developer sends the requests, with the secret `token`, and names the team by
    `team_query`. `record` is the team as it was created.
    """

    def __init__(self, team_server: TeamServer, slug: str) -> None:
        self.server = team_server.server
        self.accounts = team_server.accounts
        self.operator_token = team_server.operator_token
        self.turbo = team_server.turbo
        self.record: Team = self.accounts.teams.create(slug)
        self.owner = self._create_member("owner", Role.OWNER)
        self.developer = self._create_member("developer", Role.DEVELOPER)
        self.owner_token = self._create_token(self.owner)[1]
        self.team_query = {"teamId": self.record.id, "slug": slug}
        colleague = self._create_member("colleague", Role.DEVELOPER)
        self.colleague = Credentials(self._create_token(colleague)[1], self.team_query)
        self.token: str | None
        self.own_token, self.token = self._create_token(self.developer)
        self.stored_build = SampleBuild()
        for operation in ("uploadArtifact", "downloadArtifact", "recordEvents"):
            assert self.send(operation).error is None

    @property
    def caller(self) -> Credentials:
        return Credentials(self.token, self.team_query)

    def send(self, operation: str, build: SampleBuild | None = None) -> Outcome:
        """Send one operation as turbo sends it."""
        return self.turbo.send(self.server, self.caller, build or self.stored_build, operation)

    def probe(self) -> int:
        """Send a request that changes nothing, and return its status."""
        refused = self.send("artifactExists").error
        return refused[0] if refused else 200

    def api(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        """Call the management API, which must succeed, and return the JSON of the response.

        The owner calls, unless `token` is given. `path` is relative to the team's.
        """
        path = path if path.startswith("/") else f"/v1/teams/{self.record.id}/{path}"
        options = {} if body is None else {"json": body}
        response = self.server.request(method, path, token=token or self.owner_token, **options)
        assert response.is_success, response.text
        return response.json()

    def command(self, line: str) -> None:
        """Run `hitrate` with a line in which {team}, {email} and {token} are the developer's."""
        values = {
            "team": self.record.slug,
            "email": self.developer.email,
            "token": self.own_token.id,
        }
        data_dir = ["--data-dir", str(self.server.data_dir)]
        with _COMMAND_LOCK:
            cli([*line.format(**values).split(), *data_dir], standalone_mode=False)

    def usage(self) -> dict[str, int]:
        """Return the team's usage in the current billing cycle, by measure."""
        used: dict[str, int] = self.api("GET", "usage")["current"]["used"]
        return {name: used[name] for name in WIRE_NAMES.values()}

    def recorded_sessions(self) -> set[str]:
        """Return the sessions of the team's recorded events."""
        events = self.server.events(slug=self.record.slug, token=self.owner_token)
        return {event["sessionId"] for event in events}

    def replace_token(self, *scopes: Scope, lifetime_s: float | None = None) -> None:
        """Give the developer a new token to send; without `scopes` it has all of them."""
        self.own_token, self.token = self._create_token(
            self.developer, *scopes, lifetime_s=lifetime_s
        )

    def _create_token(
        self, user: User, *scopes: Scope, lifetime_s: float | None = None
    ) -> tuple[Token, str]:
        return self.accounts.tokens.create(
            None, "", user=user, scopes=scopes or Scope, lifetime_s=lifetime_s
        )

    def _create_member(self, name: str, role: Role) -> User:
        user = self.accounts.users.create(f"{name}@{self.record.slug}.example")
        self.accounts.members.add(self.record, user, role, OPERATOR)
        return user
