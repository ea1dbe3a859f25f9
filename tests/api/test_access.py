"""Authorization of every route for every kind of caller, according to roles and scopes."""

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from hitrate.auth import tokens
from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import Permission
from hitrate.clock import Clock
from hitrate.db.engine import open_database
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR as BY_OPERATOR
from hitrate.teams.models import Team, User
from tests.support.access_cases import (
    ALL_SCOPES,
    CALLERS,
    MEMBERS,
    OPERATOR,
    OUTSIDER,
    TEAM_TOKENS,
    Caller,
    is_allowed,
)
from tests.support.all_routes import RouteInfo, all_routes
from tests.support.server import Server, eventually

ROUTES = all_routes()

PATH_PARAMETERS = {
    "team": "acme",
    "slug": "acme",
    "user": "usr_missing",
    "token": "tok_missing",
}

BODIES: dict[str, Any] = {
    "recordEvents": [],
    "artifactQuery": {"hashes": []},
    "uploadArtifact": "x",
    "changeTeamSettings": {},
    "changeTeamBilling": {},
    "addMember": {"email": "nobody@nowhere.example"},
    "changeMember": {},
    # A token with more permissions than the caller's own is refused.
    "createTeamToken": {"scopes": ["admin"]},
    "createOwnToken": {},
    "rotateTeamToken": {},
    "rotateOwnToken": {},
}


class RouteClient:
    """Calls the routes of a server with a token of each kind of caller."""

    def __init__(self, server: Server, accounts: AccountStore, http: httpx.Client) -> None:
        self._server = server
        self._accounts = accounts
        self._http = http
        self._user_numbers = count()
        self._team = accounts.teams.create("acme")
        self._other_team = accounts.teams.create("other")
        self._create_user(self._team, Role.OWNER)  # so that no other owner is the last
        self.tokens = self.new_tokens()

    def new_tokens(self) -> dict[Caller, str | None]:
        """Create a token for each kind of caller, with new users."""
        tokens: dict[Caller, str | None] = {
            OUTSIDER: self._token(self._create_user(self._other_team, Role.OWNER))
        }
        tokens |= {
            caller: self._token(self._create_user(self._team, caller.role)) for caller in MEMBERS
        }
        create = self._accounts.tokens.create
        tokens |= {
            caller: create(self._team, "", scopes=caller.scopes)[1] for caller in TEAM_TOKENS
        }
        tokens[OPERATOR] = create(None, "operator", lifetime_s=600)[1]
        return {
            caller: tokens.get(caller) or self._invalid_token(caller.name) for caller in CALLERS
        }

    def call(self, route: RouteInfo, token: str | None, accept: str = "*/*") -> httpx.Response:
        """Call a route for the team, with the ids of a user and a token that do not exist."""
        path = re.sub(r"{(\w+)}", lambda match: PATH_PARAMETERS.get(match[1], "abc"), route.path)
        return self._http.request(
            route.method,
            self._server.url + path,
            params={"slug": self._team.slug, "redirect_uri": "http://127.0.0.1:9789"},
            headers={"accept": accept} | ({"authorization": f"Bearer {token}"} if token else {}),
            content=json.dumps(BODIES[route.operation]) if route.operation in BODIES else None,
        )

    def _invalid_token(self, name: str) -> str | None:
        create, disable = self._accounts.tokens.create, self._accounts.users.disable
        match name:
            case "no-token":
                return None
            case "malformed":
                return "hr_" + "x" * 38
            case "unknown":
                return tokens.new_secret()
            case "expired":
                return create(self._team, "", scopes=ALL_SCOPES, lifetime_s=0)[1]
            case "revoked":
                token, secret = create(self._team, "", scopes=ALL_SCOPES)
                self._accounts.tokens.revoke(token)
                return secret
            case "disabled-user":
                user = self._create_user(self._team, Role.OWNER)
                disable(user)
                return self._token(user)
        raise AssertionError(name)

    def _create_user(self, team: Team, role: Role | None) -> User:
        user = self._accounts.users.create(f"user{next(self._user_numbers)}@acme.example")
        if role is not None:
            self._accounts.members.add(team, user, role, BY_OPERATOR)
        return user

    def _token(self, user: User) -> str:
        return self._accounts.tokens.create(None, "", user=user, scopes=ALL_SCOPES)[1]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouteClient]:
    """On a separate server: many invalid tokens delay further responses."""
    server = Server(tmp_path_factory.mktemp("access") / "data")
    server.start()
    engine = open_database(server.data_dir)
    with httpx.Client() as http:
        yield RouteClient(server, AccountStore(engine, Clock()), http)
    engine.dispose()
    server.kill()


def route_name(route: RouteInfo) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if r.permission not in (Permission.PUBLIC, Permission.SESSION)],
    ids=route_name,
)
def test_route_admits_exactly_the_callers_with_its_permission(
    client: RouteClient, route: RouteInfo
) -> None:
    # A route that changes something may change its caller, so it gets new users.
    changes = route.method not in ("GET", "HEAD") and not route.path.startswith("/v8/")
    callers = client.new_tokens() if changes else client.tokens
    admitted = set()
    for caller, token in callers.items():
        response = client.call(route, token)
        assert response.status_code < 500
        if response.status_code not in (401, 403):
            admitted.add(caller)
            continue
        assert response.status_code == (403 if caller.valid else 401)
        if route.method != "HEAD":
            assert response.json()["code"] == ("forbidden" if caller.valid else "unauthorized")
    assert admitted == {caller for caller in CALLERS if is_allowed(route, caller)}


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.permission is Permission.PUBLIC], ids=route_name
)
def test_public_route_responds_equally_to_every_caller(
    client: RouteClient, route: RouteInfo
) -> None:
    statuses = {client.call(route, token).status_code for token in client.tokens.values()}
    assert len(statuses) == 1


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.permission is Permission.SESSION], ids=route_name
)
def test_page_ignores_tokens_and_redirects_browsers_to_login(
    client: RouteClient, route: RouteInfo
) -> None:
    for token in client.tokens.values():
        response = client.call(route, token, accept="text/html")
        assert response.status_code == 303
        assert response.headers["location"].startswith("/login")
    assert client.call(route, client.tokens[OPERATOR]).status_code == 401


def test_every_permission_has_a_route_and_a_caller() -> None:
    assert {route.permission for route in ROUTES} == set(Permission)
    for route in ROUTES:
        assert (
            any(is_allowed(route, caller) for caller in CALLERS)
            or route.permission is Permission.SESSION
        )


def test_every_documented_route_is_covered(shared_server: Server) -> None:
    paths = httpx.get(f"{shared_server.url}/openapi.json").json()["paths"]
    documented = {(m.upper(), path) for path, methods in paths.items() for m in methods}
    covered = {(r.method, r.path) for r in ROUTES}
    assert documented <= covered
    undocumented = {(m, path) for m, path in covered - documented if m != "OPTIONS"}
    assert {path for _, path in undocumented if path.startswith("/v")} == set()


def test_revoked_token_is_rejected_within_five_seconds(shared_server: Server) -> None:
    token = shared_server.create_token("--label", "short-lived")
    status = "/v8/artifacts/status"
    assert shared_server.request("GET", status, token=token).status_code == 200
    token_list = shared_server.command("token", "list", "--json")
    [token_row] = [row for row in json.loads(token_list) if row["label"] == "short-lived"]
    shared_server.command("token", "revoke", token_row["id"])
    eventually(
        lambda: shared_server.request("GET", status, token=token).status_code == 401, seconds=5
    )
