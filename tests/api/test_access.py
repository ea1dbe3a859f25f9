"""Every route with every kind of caller: who gets in is what the route's access, the roles and the
scopes say."""

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from hitrate.auth import token_secrets
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
    OPERATOR,
    PEOPLE,
    STRANGER,
    TEAM_TOKENS,
    Caller,
    lets_in,
)
from tests.support.all_routes import Row, all_routes
from tests.support.server import Server, eventually

ROUTES = all_routes()

PLACES = {"team": "walked", "slug": "walked", "user": "usr_nobody", "token": "tok_none"}

BODIES: dict[str, Any] = {
    "recordEvents": [],
    "artifactQuery": {"hashes": []},
    "uploadArtifact": "x",
    "changeTeamSettings": {},
    "changeTeamBilling": {},
    "addMember": {"email": "nobody@nowhere.example"},
    "changeMember": {},
    # Who makes a token for more than they may do themselves is refused for that.
    "createTeamToken": {"scopes": ["admin"]},
    "createOwnToken": {},
    "rotateTeamToken": {},
    "rotateOwnToken": {},
}


class Walker:
    """Calls routes of a server with the token of each kind of caller."""

    def __init__(self, server: Server, accounts: AccountStore, http: httpx.Client) -> None:
        self._server = server
        self._accounts = accounts
        self._http = http
        self._numbers = count()
        self._team = accounts.teams.create("walked")
        self._strangers = accounts.teams.create("strangers")
        self._person(self._team, Role.OWNER)  # so that no other owner is the last
        self.tokens = self.new_tokens()

    def new_tokens(self) -> dict[Caller, str | None]:
        """A token for each kind of caller, of people that have not called before."""
        made = {STRANGER: self._token(self._person(self._strangers, Role.OWNER))}
        made |= {one: self._token(self._person(self._team, one.role)) for one in PEOPLE}
        create = self._accounts.tokens.create
        made |= {one: create(self._team, "", scopes=one.scopes)[1] for one in TEAM_TOKENS}
        made[OPERATOR] = create(None, "operator", lifetime_s=600)[1]
        return {one: made.get(one) or self._invalid(one.name) for one in CALLERS}

    def call(self, row: Row, token: str | None, accept: str = "*/*") -> httpx.Response:
        """The answer of a route about the team, and people and tokens that are not there."""
        path = re.sub(r"{(\w+)}", lambda found: PLACES.get(found[1], "abc"), row.path)
        return self._http.request(
            row.method,
            self._server.url + path,
            params={"slug": self._team.slug, "redirect_uri": "http://127.0.0.1:9789"},
            headers={"accept": accept} | ({"authorization": f"Bearer {token}"} if token else {}),
            content=json.dumps(BODIES[row.operation]) if row.operation in BODIES else None,
        )

    def _invalid(self, name: str) -> str | None:
        create, disable = self._accounts.tokens.create, self._accounts.users.disable
        match name:
            case "nobody":
                return None
            case "malformed":
                return "hr_" + "x" * 38
            case "unknown":
                return token_secrets.new_secret()
            case "expired":
                return create(self._team, "", scopes=ALL_SCOPES, lifetime_s=0)[1]
            case "revoked":
                token, secret = create(self._team, "", scopes=ALL_SCOPES)
                self._accounts.tokens.revoke(token)
                return secret
            case "disabled":
                person = self._person(self._team, Role.OWNER)
                disable(person)
                return self._token(person)
        raise AssertionError(name)

    def _person(self, team: Team, role: Role | None) -> User:
        user = self._accounts.users.create(f"person{next(self._numbers)}@walk.example")
        if role is not None:
            self._accounts.members.add(team, user, role, BY_OPERATOR)
        return user

    def _token(self, user: User) -> str:
        return self._accounts.tokens.create(None, "", user=user, scopes=ALL_SCOPES)[1]


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    """On a server of its own: who sends too many bad tokens has to wait."""
    server = Server(tmp_path_factory.mktemp("walk") / "data")
    server.start()
    engine = open_database(server.data_dir)
    with httpx.Client() as http:
        yield Walker(server, AccountStore(engine, Clock()), http)
    engine.dispose()
    server.kill()


def named(row: Row) -> str:
    return f"{row.method} {row.path}"


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if r.permission not in (Permission.PUBLIC, Permission.SESSION)],
    ids=named,
)
def test_a_route_lets_in_whom_its_access_names(walker: Walker, route: Row) -> None:
    # What changes something may change who called, who must not have another way to go then.
    changes = route.method not in ("GET", "HEAD") and not route.path.startswith("/v8/")
    callers = walker.new_tokens() if changes else walker.tokens
    let_in = set()
    for caller, token in callers.items():
        answer = walker.call(route, token)
        assert answer.status_code < 500
        if answer.status_code not in (401, 403):
            let_in.add(caller)
            continue
        assert answer.status_code == (403 if caller.valid else 401)
        if route.method != "HEAD":
            assert answer.json()["code"] == ("forbidden" if caller.valid else "unauthorized")
    assert let_in == {caller for caller in CALLERS if lets_in(route, caller)}


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.permission is Permission.PUBLIC], ids=named
)
def test_a_public_route_does_not_care_who_calls(walker: Walker, route: Row) -> None:
    statuses = {walker.call(route, token).status_code for token in walker.tokens.values()}
    assert len(statuses) == 1


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.permission is Permission.SESSION], ids=named
)
def test_a_page_takes_no_token_and_sends_browsers_to_sign_in(walker: Walker, route: Row) -> None:
    for token in walker.tokens.values():
        answer = walker.call(route, token, accept="text/html")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
    assert walker.call(route, walker.tokens[OPERATOR]).status_code == 401


def test_every_access_has_a_route_and_is_somebodys() -> None:
    assert {route.permission for route in ROUTES} == set(Permission)
    for route in ROUTES:
        assert (
            any(lets_in(route, caller) for caller in CALLERS)
            or route.permission is Permission.SESSION
        )


def test_the_walk_has_every_route_of_the_documentation(shared_server: Server) -> None:
    paths = httpx.get(f"{shared_server.url}/openapi.json").json()["paths"]
    documented = {(m.upper(), path) for path, methods in paths.items() for m in methods}
    walked = {(r.method, r.path) for r in ROUTES}
    assert documented <= walked
    undocumented = {(m, path) for m, path in walked - documented if m != "OPTIONS"}
    assert {path for _, path in undocumented if path.startswith("/v")} == set()


def test_a_revoked_token_is_refused_within_five_seconds(shared_server: Server) -> None:
    token = shared_server.create_token("--label", "short-lived")
    status = "/v8/artifacts/status"
    assert shared_server.request("GET", status, token=token).status_code == 200
    listed = shared_server.command("token", "list", "--json")
    [made] = [row for row in json.loads(listed) if row["label"] == "short-lived"]
    shared_server.command("token", "revoke", made["id"])
    eventually(
        lambda: shared_server.request("GET", status, token=token).status_code == 401, seconds=5
    )
