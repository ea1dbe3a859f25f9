"""The accounts of a running server: made in its database, used over HTTP."""

from typing import Any

import httpx

from hitrate.auth.models import Scope
from hitrate.clock import Clock
from hitrate.roles import Role
from hitrate.teams.models import Team, User
from tests.support.account_fixture import ALL_SCOPES, AccountFixture
from tests.support.server import Server


class AccountApi(AccountFixture):
    """Every answer that is an error has the contract's shape and is none of the server's."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.data_dir, Clock())
        self.server = server
        _, self.operator = self.create_token(scopes=())

    def create_owner(self, team: Team) -> tuple[User, str]:
        """A new owner of the team, and a token of theirs that may do everything."""
        return self.create_member(team, Role.OWNER)

    def create_member(self, team: Team, role: Role) -> tuple[User, str]:
        """Somebody new in the team, and a token of theirs with every scope."""
        user = self.create_user((team, role))
        return user, self.create_user_token(user)

    def create_user_token(
        self, user: User, *scopes: Scope, team: Team | None = None, lifetime_s: float | None = None
    ) -> str:
        """A new token of a person, with every scope when none is named."""
        return self.create_token(team, user, scopes or ALL_SCOPES, lifetime_s=lifetime_s)[1]

    def create_team_token(self, team: Team, *scopes: Scope) -> str:
        """A new token of a team, with every scope when none is named."""
        return self.create_token(team, scopes=scopes or ALL_SCOPES)[1]

    def call(self, method: str, path: str, token: str, **options: Any) -> httpx.Response:
        """An answer. A path without a leading slash begins at `/v1/teams/`."""
        whole = path if path.startswith("/") else f"/v1/teams/{path}"
        answer = self.server.request(method, whole, token=token, **options)
        check_shape(answer)
        return answer

    def ok(self, method: str, path: str, token: str, **options: Any) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.call(method, path, token, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def client_error(self, method: str, path: str, token: str, **options: Any) -> tuple[int, str]:
        """Status and message of an answer that must be a refusal."""
        answer = self.call(method, path, token, **options)
        assert answer.is_client_error, answer.text
        return answer.status_code, answer.json()["message"]

    def status(self, method: str, path: str, token: str, **options: Any) -> int:
        """The status of an answer."""
        return self.call(method, path, token, **options).status_code


def check_shape(answer: httpx.Response) -> None:
    """Fails unless it is a success, or an error of the client's told as the contract says."""
    assert answer.status_code < 500, answer.text
    if answer.is_client_error and answer.request.method != "HEAD":
        body = answer.json()
        assert set(body) == {"error", "code", "message"}
        assert body["error"] == {"code": body["code"], "message": body["message"]}
        assert body["message"]
