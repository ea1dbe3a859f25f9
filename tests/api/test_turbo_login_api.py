"""The account API of `turbo` with each kind of token; the JSON is exactly what turbo parses."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from hitrate.auth.models import Scope, Token, TokenOrigin
from hitrate.clock import iso
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team, User
from tests.support.browser_user import create_user, open_accounts
from tests.support.server import Server


class TokenFixture:
    """A user in two teams, and a token of each kind."""

    def __init__(self, server: Server) -> None:
        self.server = server
        name = uuid.uuid4().hex[:12]
        self.user = create_user(server, f"{name}@example.com", f"a-{name}", role=Role.VIEWER)
        with open_accounts(server) as accounts:
            self.one = self._require(accounts.teams.find(slug=f"a-{name}"))
            self.other = accounts.teams.create(f"b-{name}", "The other")
            accounts.members.add(self.other, self.user, Role.OWNER, OPERATOR)
            create = accounts.tokens.create
            self.user_token = create(None, "mine", user=self.user)
            self.team_confined = create(self.one, "ours", user=self.user, lifetime_s=60)
            self.sso = create(self.one, "cli", user=self.user, origin=TokenOrigin.SSO)
            label = "Turbo CLI on vm via SAML/OIDC Single Sign-On"
            self.manual = create(self.one, label, user=self.user)
            self.writer = create(self.one, "CI")
            self.reader = create(self.one, "", scopes={Scope.READ})
            self.admin = create(self.one, "admin", scopes=set(Scope))
            self.operator = create(None, "op", lifetime_s=600)

    @staticmethod
    def _require(team: Team | None) -> Team:
        assert team is not None
        return team

    def get(self, path: str, token: tuple[Token, str]) -> Any:
        response = self.server.request("GET", path, token=token[1])
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def tokens(shared_server: Server) -> TokenFixture:
    return TokenFixture(shared_server)


def team_json(team: Team, role: str) -> dict[str, Any]:
    return {
        "id": team.id,
        "slug": team.slug,
        "name": team.name,
        "createdAt": team.created_at_ms,
        "created": iso(team.created_at_ms),
        "membership": {"role": role},
    }


def user_json(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "createdAt": user.created_at_ms,
    }


def test_whoami_returns_the_user_of_a_user_token(tokens: TokenFixture) -> None:
    for token in (tokens.user_token, tokens.team_confined):
        assert tokens.get("/v2/user", token) == {"user": user_json(tokens.user)}


@pytest.mark.parametrize("kind", ["writer", "reader"])
def test_whoami_returns_a_team_token_itself(tokens: TokenFixture, kind: str) -> None:
    created: tuple[Token, str] = getattr(tokens, kind)
    token = created[0]
    assert tokens.get("/v2/user", created) == {
        "user": {
            "id": token.id,
            "username": tokens.one.slug,
            "email": "",
            "name": token.label or tokens.one.name,
            "createdAt": token.created_at_ms,
        }
    }


def test_whoami_names_the_operator(tokens: TokenFixture) -> None:
    assert tokens.get("/v2/user", tokens.operator)["user"]["username"] == "operator"


def test_teams_are_those_in_which_a_user_token_is_valid(tokens: TokenFixture) -> None:
    one, other = team_json(tokens.one, "VIEWER"), team_json(tokens.other, "OWNER")
    assert tokens.get("/v2/teams?limit=100", tokens.user_token) == {"teams": [one, other]}
    assert tokens.get("/v2/teams?limit=1", tokens.user_token) == {"teams": [one]}
    assert tokens.get("/v2/teams", tokens.team_confined) == {"teams": [one]}


@pytest.mark.parametrize(
    ("kind", "role"), [("writer", "DEVELOPER"), ("reader", "VIEWER"), ("admin", "OWNER")]
)
def test_team_token_lists_its_team_with_the_role_of_its_scopes(
    tokens: TokenFixture, kind: str, role: str
) -> None:
    token = getattr(tokens, kind)
    assert tokens.get("/v2/teams", token) == {"teams": [team_json(tokens.one, role)]}
    assert tokens.get(f"/v2/teams/{tokens.one.id}", token) == team_json(tokens.one, role)


def test_operator_token_lists_every_team(tokens: TokenFixture) -> None:
    teams = tokens.get("/v2/teams?limit=1000", tokens.operator)["teams"]
    assert {"default", tokens.one.slug, tokens.other.slug} <= {team["slug"] for team in teams}
    assert {team["membership"]["role"] for team in teams} == {"OWNER"}


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many"])
def test_invalid_limit_is_rejected(tokens: TokenFixture, limit: str) -> None:
    response = tokens.server.request("GET", f"/v2/teams?limit={limit}", token=tokens.user_token[1])
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_team_is_found_by_id_and_slug_by_its_members_only(tokens: TokenFixture) -> None:
    other = team_json(tokens.other, "OWNER")
    for name in (tokens.other.id, tokens.other.slug):
        assert tokens.get(f"/v2/teams/{name}", tokens.user_token) == other
        assert tokens.get(f"/v2/teams/{name}", tokens.operator) == other
        for outsider in (tokens.team_confined, tokens.writer):
            response = tokens.server.request("GET", f"/v2/teams/{name}", token=outsider[1])
            assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
            unknown = tokens.server.request("GET", "/v2/teams/unknown", token=outsider[1])
            assert unknown.json() == response.json()


def test_current_token_describes_its_teams_and_expiry(tokens: TokenFixture) -> None:
    token = tokens.user_token[0]
    created = token.created_at_ms
    assert tokens.get("/v5/user/tokens/current", tokens.user_token) == {
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
    [scope] = tokens.get("/v5/user/tokens/current", tokens.team_confined)["token"]["scopes"]
    assert scope == {
        "type": "team",
        "origin": "manual",
        "createdAt": tokens.team_confined[0].created_at_ms,
        "expiresAt": tokens.team_confined[0].expires_at_ms,
        "teamId": tokens.one.id,
    }
    assert tokens.get("/v5/user/tokens/current", tokens.sso)["token"]["origin"] == "sso"
    assert tokens.get("/v5/user/tokens/current", tokens.manual)["token"]["origin"] == "manual"
    [scope] = tokens.get("/v5/user/tokens/current", tokens.writer)["token"]["scopes"]
    assert (scope["type"], scope["teamId"]) == ("team", tokens.one.id)


def test_user_token_is_revoked_immediately_and_audited(tokens: TokenFixture) -> None:
    with open_accounts(tokens.server) as accounts:
        token, secret = accounts.tokens.create(None, "short", user=tokens.user)
    revoke = "/v3/user/tokens/current"
    assert tokens.server.request("GET", "/v2/user", token=secret).status_code == 200
    response = tokens.server.request("DELETE", revoke, token=secret)
    assert (response.status_code, response.json()) == (200, {})
    for method, path in (("GET", "/v2/user"), ("DELETE", revoke), ("GET", "/v2/teams")):
        assert tokens.server.request(method, path, token=secret).status_code == 401
    with open_accounts(tokens.server) as accounts:
        [entry] = accounts.audit.page(None, 1)
    assert (entry.actor_id, entry.action, entry.target) == (
        tokens.user.id,
        "token.revoke",
        token.id,
    )


@pytest.mark.parametrize("kind", ["writer", "operator"])
def test_team_and_operator_tokens_cannot_revoke_themselves(tokens: TokenFixture, kind: str) -> None:
    secret = getattr(tokens, kind)[1]
    response = tokens.server.request("DELETE", "/v3/user/tokens/current", token=secret)
    assert response.status_code == 403
    assert "An owner of the team can revoke it" in response.json()["message"]
    assert tokens.server.request("GET", "/v2/user", token=secret).status_code == 200


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
def test_route_requires_a_valid_token(shared_server: Server, method: str, path: str) -> None:
    headers = {"authorization": "Bearer nonsense"}
    response = shared_server.request(method, path, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
