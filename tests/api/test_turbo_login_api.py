"""What `turbo` asks of the API, for each kind of token, in the shapes that it parses."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from hitrate.auth.models import Scope, Token, TokenOrigin
from hitrate.clock import iso
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team, User
from tests.support.browser_user import accounts_of, add_person
from tests.support.server import Server


class Callers:
    """A person in two teams, and a token of each kind."""

    def __init__(self, server: Server) -> None:
        self.server = server
        name = uuid.uuid4().hex[:12]
        self.user = add_person(server, f"{name}@example.com", f"a-{name}", role=Role.VIEWER)
        with accounts_of(server) as accounts:
            self.one = self._team(accounts.teams.find(slug=f"a-{name}"))
            self.other = accounts.teams.create(f"b-{name}", "The other")
            accounts.members.add(self.other, self.user, Role.OWNER, OPERATOR)
            make = accounts.tokens.create
            self.person = make(None, "mine", user=self.user)
            self.confined = make(self.one, "ours", user=self.user, lifetime_s=60)
            self.sso = make(self.one, "cli", user=self.user, origin=TokenOrigin.SSO)
            label = "Turbo CLI on vm via SAML/OIDC Single Sign-On"
            self.manual = make(self.one, label, user=self.user)
            self.writer = make(self.one, "CI")
            self.reader = make(self.one, "", scopes={Scope.READ})
            self.admin = make(self.one, "admin", scopes=set(Scope))
            self.operator = make(None, "op", lifetime_s=600)

    @staticmethod
    def _team(team: Team | None) -> Team:
        assert team is not None
        return team

    def get(self, path: str, token: tuple[Token, str]) -> Any:
        answer = self.server.request("GET", path, token=token[1])
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def callers(shared_server: Server) -> Callers:
    return Callers(shared_server)


def linked(team: Team, role: str) -> dict[str, Any]:
    return {
        "id": team.id,
        "slug": team.slug,
        "name": team.name,
        "createdAt": team.created_at_ms,
        "created": iso(team.created_at_ms),
        "membership": {"role": role},
    }


def person(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "createdAt": user.created_at_ms,
    }


def test_a_persons_token_stands_for_the_person(callers: Callers) -> None:
    for token in (callers.person, callers.confined):
        assert callers.get("/v2/user", token) == {"user": person(callers.user)}


@pytest.mark.parametrize("kind", ["writer", "reader"])
def test_a_teams_token_stands_for_itself(callers: Callers, kind: str) -> None:
    made: tuple[Token, str] = getattr(callers, kind)
    token = made[0]
    assert callers.get("/v2/user", made) == {
        "user": {
            "id": token.id,
            "username": callers.one.slug,
            "email": "",
            "name": token.label or callers.one.name,
            "createdAt": token.created_at_ms,
        }
    }


def test_the_operator_has_a_name_too(callers: Callers) -> None:
    assert callers.get("/v2/user", callers.operator)["user"]["username"] == "operator"


def test_a_person_sees_their_teams_and_a_confined_token_its_own(callers: Callers) -> None:
    one, other = linked(callers.one, "VIEWER"), linked(callers.other, "OWNER")
    assert callers.get("/v2/teams?limit=100", callers.person) == {"teams": [one, other]}
    assert callers.get("/v2/teams?limit=1", callers.person) == {"teams": [one]}
    assert callers.get("/v2/teams", callers.confined) == {"teams": [one]}


@pytest.mark.parametrize(
    ("kind", "role"), [("writer", "DEVELOPER"), ("reader", "VIEWER"), ("admin", "OWNER")]
)
def test_a_teams_token_sees_its_team_with_the_role_that_comes_nearest(
    callers: Callers, kind: str, role: str
) -> None:
    token = getattr(callers, kind)
    assert callers.get("/v2/teams", token) == {"teams": [linked(callers.one, role)]}
    assert callers.get(f"/v2/teams/{callers.one.id}", token) == linked(callers.one, role)


def test_the_operator_sees_every_team(callers: Callers) -> None:
    teams = callers.get("/v2/teams?limit=1000", callers.operator)["teams"]
    assert {"default", callers.one.slug, callers.other.slug} <= {team["slug"] for team in teams}
    assert {team["membership"]["role"] for team in teams} == {"OWNER"}


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many"])
def test_a_limit_that_is_none_is_refused(callers: Callers, limit: str) -> None:
    answer = callers.server.request("GET", f"/v2/teams?limit={limit}", token=callers.person[1])
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_team_is_shown_by_id_and_by_slug_to_who_is_in_it(callers: Callers) -> None:
    other = linked(callers.other, "OWNER")
    for name in (callers.other.id, callers.other.slug):
        assert callers.get(f"/v2/teams/{name}", callers.person) == other
        assert callers.get(f"/v2/teams/{name}", callers.operator) == other
        for stranger in (callers.confined, callers.writer):
            answer = callers.server.request("GET", f"/v2/teams/{name}", token=stranger[1])
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
            unknown = callers.server.request("GET", "/v2/teams/unknown", token=stranger[1])
            assert unknown.json() == answer.json()


def test_a_token_tells_where_it_counts_and_until_when(callers: Callers) -> None:
    token = callers.person[0]
    created = token.created_at_ms
    assert callers.get("/v5/user/tokens/current", callers.person) == {
        "token": {
            "id": token.id,
            "name": "mine",
            "type": "token",
            "origin": "manual",
            "scopes": [{"type": "user", "origin": "manual", "createdAt": created}],
            "activeAt": created,
            "createdAt": created,
        }
    }
    [scope] = callers.get("/v5/user/tokens/current", callers.confined)["token"]["scopes"]
    assert scope == {
        "type": "team",
        "origin": "manual",
        "createdAt": callers.confined[0].created_at_ms,
        "expiresAt": callers.confined[0].expires_at_ms,
        "teamId": callers.one.id,
    }
    assert callers.get("/v5/user/tokens/current", callers.sso)["token"]["origin"] == "sso"
    assert callers.get("/v5/user/tokens/current", callers.manual)["token"]["origin"] == "manual"
    [scope] = callers.get("/v5/user/tokens/current", callers.writer)["token"]["scopes"]
    assert (scope["type"], scope["teamId"]) == ("team", callers.one.id)


def test_a_person_ends_their_token_at_once_and_it_is_written_down(callers: Callers) -> None:
    with accounts_of(callers.server) as accounts:
        token, secret = accounts.tokens.create(None, "short", user=callers.user)
    revoke = "/v3/user/tokens/current"
    assert callers.server.request("GET", "/v2/user", token=secret).status_code == 200
    answer = callers.server.request("DELETE", revoke, token=secret)
    assert (answer.status_code, answer.json()) == (200, {})
    for method, path in (("GET", "/v2/user"), ("DELETE", revoke), ("GET", "/v2/teams")):
        assert callers.server.request(method, path, token=secret).status_code == 401
    with accounts_of(callers.server) as accounts:
        [entry] = accounts.audit.page(None, 1)
    assert (entry.actor_id, entry.action, entry.target) == (
        callers.user.id,
        "token.revoke",
        token.id,
    )


@pytest.mark.parametrize("kind", ["writer", "operator"])
def test_nobody_who_has_a_teams_token_ends_it(callers: Callers, kind: str) -> None:
    secret = getattr(callers, kind)[1]
    answer = callers.server.request("DELETE", "/v3/user/tokens/current", token=secret)
    assert answer.status_code == 403
    assert "An owner of the team can revoke it" in answer.json()["message"]
    assert callers.server.request("GET", "/v2/user", token=secret).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/user"),
        ("GET", "/v2/teams"),
        ("GET", "/v2/teams/default"),
        ("GET", "/v5/user/tokens/current"),
        ("DELETE", "/v3/user/tokens/current"),
    ],
)
def test_without_a_token_there_is_nothing(shared_server: Server, method: str, path: str) -> None:
    headers = {"authorization": "Bearer nonsense"}
    answer = shared_server.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
