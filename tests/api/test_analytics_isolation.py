"""Tenant isolation of reports and exports: a team sees its own data only, by role and scope."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from hitrate.auth.models import Permission, Scope, Token
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team
from tests.support.all_routes import RouteInfo, all_routes
from tests.support.client_operations import error_code
from tests.support.event_factory import body, event
from tests.support.team_fixture import TeamServer

SESSION, HASH, LABEL, CI = "a-session-inside", "5ec2e7a57e11ab1e", "a-label-inside", "CI-INSIDE"
ROUTES = [route for route in all_routes() if route.permission is Permission.ANALYTICS]
ROUTES_BY_NAME = {route.operation: route for route in ROUTES}
DETAIL_OPERATIONS = {route.operation for route in ROUTES if "{" in route.path}
# Routes ignore parameters that they do not know.
PARAMS = {"since": "1d", "fresh": "true", "by": "token"}
FORBIDDEN = (403, "forbidden")


@dataclass(frozen=True)
class TeamClient:
    """A team with a token of its own."""

    team_server: TeamServer
    team: Team
    token: Token
    secret: str

    def read(
        self,
        route: RouteInfo,
        secret: str = "",
        session: str = SESSION,
        name: str = HASH,
        **params: Any,
    ) -> httpx.Response:
        """Request a route with this team's token, or another one."""
        path_params = {"session": session, "hash": name}
        path = re.sub(r"{(\w+)}", lambda match: path_params[match[1]], route.path)
        return self.team_server.server.request(
            route.method, path, token=secret or self.secret, params=PARAMS | params
        )

    def create_member_token(self, role: Role) -> str:
        """Create a member with a role; return a token of the member."""
        accounts = self.team_server.accounts
        user = accounts.users.create(f"{role.lower()}@{self.team.slug}.example")
        accounts.members.add(self.team, user, role, OPERATOR)
        return accounts.tokens.create(None, "", user=user, scopes=Scope)[1]


def create_team_client(team_server: TeamServer, slug: str, label: str) -> TeamClient:
    team = team_server.accounts.teams.create(slug)
    return TeamClient(
        team_server, team, *team_server.accounts.tokens.create(team, label, scopes=Scope)
    )


@pytest.fixture(scope="module")
def team(team_server: TeamServer) -> TeamClient:
    """A team with an artifact and the run that produced it."""
    team = create_team_client(team_server, "inside", LABEL)
    missed = event(sessionId=SESSION, hash=HASH, event="MISS", duration=0)
    for method, path, content in (
        ("POST", "/v8/artifacts/events", body(missed)),
        ("PUT", f"/v8/artifacts/{HASH}", b"x" * 100),
    ):
        response = team_server.server.request(
            method,
            path,
            token=team.secret,
            content=content,
            headers={"x-artifact-client-ci": CI},
        )
        assert response.is_success, response.text
    assert team.read(ROUTES_BY_NAME["getRun"]).status_code == 200
    return team


@pytest.fixture(scope="module")
def other_team(team: TeamClient) -> TeamClient:
    """Another team, without data."""
    return create_team_client(team.team_server, "outside", "a-label-outside")


@pytest.fixture(scope="module")
def other_owner_token(other_team: TeamClient) -> str:
    return other_team.create_member_token(Role.OWNER)


@pytest.fixture(scope="module")
def tokens_by_role(team: TeamClient) -> dict[Role, str]:
    return {role: team.create_member_token(role) for role in Role}


def operation_of(route: RouteInfo) -> str:
    return route.operation


@pytest.mark.parametrize("route", ROUTES, ids=operation_of)
def test_team_sees_its_own_data(team: TeamClient, route: RouteInfo) -> None:
    response = team.read(route)
    assert response.status_code == 200
    traces = {trace for trace in (SESSION, HASH, LABEL, CI) if trace in response.text}
    assert traces or '"tasks":1' in response.text


@pytest.mark.parametrize("route", ROUTES, ids=operation_of)
def test_other_team_sees_no_data(
    team: TeamClient, other_team: TeamClient, route: RouteInfo
) -> None:
    for params in ({}, {"token": team.token.id}, {"ci": CI}):
        response = other_team.read(route, **params)
        assert response.status_code == (404 if route.operation in DETAIL_OPERATIONS else 200)
        secrets = (team.team.id, team.token.id, LABEL, CI, '"tasks":1')
        assert [trace for trace in secrets if trace in response.text] == []
        if route.operation not in DETAIL_OPERATIONS:
            assert SESSION not in response.text
            assert HASH not in response.text


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.operation in DETAIL_OPERATIONS], ids=operation_of
)
def test_404_is_the_same_for_data_of_another_team_and_unknown_data(
    other_team: TeamClient, route: RouteInfo
) -> None:
    other = other_team.read(route, since="2020-01-01")
    unknown = other_team.read(
        route, session="X" * len(SESSION), name="X" * len(HASH), since="2020-01-01"
    )
    assert other.status_code == unknown.status_code == 404
    assert re.sub(f"{SESSION}|{HASH}", "", other.text) == re.sub("X{9,}", "", unknown.text)


@pytest.mark.parametrize("route", ROUTES, ids=operation_of)
def test_403_is_the_same_for_another_team_and_unknown_team(
    team: TeamClient, other_team: TeamClient, other_owner_token: str, route: RouteInfo
) -> None:
    responses = [
        other_team.read(route, slug="inside"),
        other_team.read(route, teamId=team.team.id),
        other_team.read(route, slug="no-such-team"),
        other_team.read(route, teamId="team_none"),
        other_team.read(route, slug=["outside", "inside"]),
        other_team.read(route, other_owner_token, slug="inside"),
    ]
    assert {(one.status_code, error_code(one)) for one in responses} == {FORBIDDEN}
    assert len({one.text for one in responses}) == 1


@pytest.mark.parametrize("route", ROUTES, ids=operation_of)
def test_every_role_except_billing_reads_reports(
    team: TeamClient, tokens_by_role: dict[Role, str], route: RouteInfo
) -> None:
    all_time = {"since": "2020-01-01", "until": "2100-01-01", "bucket": "month"}
    expected = team.read(route, **all_time)
    assert expected.status_code == 200
    for role, secret in tokens_by_role.items():
        response = team.read(route, secret, **all_time)
        if role is Role.BILLING:
            assert (response.status_code, error_code(response)) == FORBIDDEN
            assert "analytics" in response.json()["message"]
        else:
            assert response.text == expected.text


def test_billing_role_reads_usage(team: TeamClient, tokens_by_role: dict[Role, str]) -> None:
    path = f"/v1/teams/{team.team.slug}/usage"
    response = team.team_server.server.request("GET", path, token=tokens_by_role[Role.BILLING])
    assert response.status_code == 200
    used = response.json()["current"]["used"]
    assert (used["events"], used["uploadedBytes"]) == (1, 100)


@pytest.mark.parametrize("route", ROUTES, ids=operation_of)
def test_only_the_analytics_scope_allows_reports(team: TeamClient, route: RouteInfo) -> None:
    create = team.team_server.accounts.tokens.create
    for scope in Scope:
        _, secret = create(team.team, "", scopes=[scope])
        status = team.read(route, secret).status_code
        assert status == (200 if scope is Scope.ANALYTICS else 403)


def test_same_session_and_hash_are_separate_in_two_teams(
    team: TeamClient, team_server: TeamServer
) -> None:
    twin = create_team_client(team_server, "twin", "a-label-of-the-twin")
    hit = event(sessionId=SESSION, hash=HASH, duration=7)
    response = team_server.server.request(
        "POST",
        "/v8/artifacts/events",
        token=twin.secret,
        content=body(hit, event(sessionId=SESSION)),
    )
    assert response.is_success
    other, own = (one.read(ROUTES_BY_NAME["getRun"]).json() for one in (twin, team))
    assert (other["run"]["tasks"], other["run"]["localHits"]) == (2, 2)
    assert (own["run"]["tasks"], own["run"]["localHits"]) == (1, 0)
    other, own = (one.read(ROUTES_BY_NAME["getArtifact"]).json() for one in (twin, team))
    assert other["artifact"] is None
    assert own["artifact"]["hits"] == {"local": 0, "remote": 0}
    assert [use["outcome"] for use in other["uses"] + own["uses"]] == ["local_hit", "miss"]
