"""Accounts of a running server: created in its database, used over HTTP."""

from typing import Any

import httpx

from hitrate.auth.models import Scope
from hitrate.clock import Clock
from hitrate.roles import Role
from hitrate.teams.models import Team, User
from tests.support.account_fixture import ALL_SCOPES, AccountFixture
from tests.support.server import Server


class AccountApi(AccountFixture):
    """HTTP client of the account API. Checks the shape of each error response."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.data_dir, Clock())
        self.server = server
        _, self.operator = self.create_token(scopes=())

    def create_owner(self, team: Team) -> tuple[User, str]:
        """Create an owner of the team and return them with a token with all scopes."""
        return self.create_member(team, Role.OWNER)

    def create_member(self, team: Team, role: Role) -> tuple[User, str]:
        """Create a member of the team and return them with a token with all scopes."""
        user = self.create_user((team, role))
        return user, self.create_user_token(user)

    def create_user_token(
        self, user: User, *scopes: Scope, team: Team | None = None, lifetime_s: float | None = None
    ) -> str:
        """Create a token of a user, by default with all scopes, and return its secret."""
        return self.create_token(team, user, scopes or ALL_SCOPES, lifetime_s=lifetime_s)[1]

    def create_team_token(self, team: Team, *scopes: Scope) -> str:
        """Create a token of a team, by default with all scopes, and return its secret."""
        return self.create_token(team, scopes=scopes or ALL_SCOPES)[1]

    def call(self, method: str, path: str, token: str, **options: Any) -> httpx.Response:
        """Send a request. A path without a leading slash is relative to `/v1/teams/`."""
        absolute = path if path.startswith("/") else f"/v1/teams/{path}"
        response = self.server.request(method, absolute, token=token, **options)
        check_shape(response)
        return response

    def ok(self, method: str, path: str, token: str, **options: Any) -> Any:
        """Send a request that must succeed, and return the JSON of the response."""
        response = self.call(method, path, token, **options)
        assert response.is_success, response.text
        return response.json()

    def client_error(self, method: str, path: str, token: str, **options: Any) -> tuple[int, str]:
        """Send a request that must fail with a 4xx status; return the status and the message."""
        response = self.call(method, path, token, **options)
        assert response.is_client_error, response.text
        return response.status_code, response.json()["message"]

    def status(self, method: str, path: str, token: str, **options: Any) -> int:
        """Send a request and return the status of the response."""
        return self.call(method, path, token, **options).status_code


def check_shape(response: httpx.Response) -> None:
    """Fail for a server error, and for a client error whose body differs from the contract."""
    assert response.status_code < 500, response.text
    if response.is_client_error and response.request.method != "HEAD":
        body = response.json()
        assert set(body) == {"error", "code", "message"}
        assert body["error"] == {"code": body["code"], "message": body["message"]}
        assert body["message"]
