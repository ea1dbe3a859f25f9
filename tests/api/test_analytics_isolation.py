"""Who may read the reports, and of which team: what another team did might as well not exist."""

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
ROUTES = [row for row in all_routes() if row.permission is Permission.ANALYTICS]
ROUTES_BY_NAME = {row.operation: row for row in ROUTES}
OF_ONE = {row.operation for row in ROUTES if "{" in row.path}
# What a route does not know it takes no notice of.
ASKED = {"since": "1d", "fresh": "true", "by": "token"}
FORBIDDEN = (403, "forbidden")


@dataclass(frozen=True)
class Side:
    """A team, and a token of its own."""

    team_server: TeamServer
    team: Team
    token: Token
    secret: str

    def read(
        self,
        row: RouteInfo,
        secret: str = "",
        session: str = SESSION,
        name: str = HASH,
        **asked: Any,
    ) -> httpx.Response:
        """What a route answers to this team's token, or another one."""
        places = {"session": session, "hash": name}
        path = re.sub(r"{(\w+)}", lambda found: places[found[1]], row.path)
        return self.team_server.server.request(
            row.method, path, token=secret or self.secret, params=ASKED | asked
        )

    def person(self, role: Role) -> str:
        """The token of somebody in the team."""
        accounts = self.team_server.accounts
        user = accounts.users.create(f"{role.lower()}@{self.team.slug}.example")
        accounts.members.add(self.team, user, role, OPERATOR)
        return accounts.tokens.create(None, "", user=user, scopes=Scope)[1]


def side(team_server: TeamServer, slug: str, label: str) -> Side:
    team = team_server.accounts.teams.create(slug)
    return Side(team_server, team, *team_server.accounts.tokens.create(team, label, scopes=Scope))


@pytest.fixture(scope="module")
def inside(team_server: TeamServer) -> Side:
    """A team that made an artifact in a run."""
    inside = side(team_server, "inside", LABEL)
    missed = event(sessionId=SESSION, hash=HASH, event="MISS", duration=0)
    for method, path, content in (
        ("POST", "/v8/artifacts/events", body(missed)),
        ("PUT", f"/v8/artifacts/{HASH}", b"x" * 100),
    ):
        answer = team_server.server.request(
            method,
            path,
            token=inside.secret,
            content=content,
            headers={"x-artifact-client-ci": CI},
        )
        assert answer.is_success, answer.text
    assert inside.read(ROUTES_BY_NAME["getRun"]).status_code == 200
    return inside


@pytest.fixture(scope="module")
def outside(inside: Side) -> Side:
    """Another team, which did nothing, beside that one."""
    return side(inside.team_server, "outside", "a-label-outside")


@pytest.fixture(scope="module")
def owner_outside(outside: Side) -> str:
    return outside.person(Role.OWNER)


@pytest.fixture(scope="module")
def people(inside: Side) -> dict[Role, str]:
    return {role: inside.person(role) for role in Role}


def named(row: RouteInfo) -> str:
    return row.operation


@pytest.mark.parametrize("row", ROUTES, ids=named)
def test_team_sees_its_own_data(inside: Side, row: RouteInfo) -> None:
    answer = inside.read(row)
    assert answer.status_code == 200
    traces = {trace for trace in (SESSION, HASH, LABEL, CI) if trace in answer.text}
    assert traces or '"tasks":1' in answer.text


@pytest.mark.parametrize("row", ROUTES, ids=named)
def test_other_team_sees_no_data(inside: Side, outside: Side, row: RouteInfo) -> None:
    for asked in ({}, {"token": inside.token.id}, {"ci": CI}):
        answer = outside.read(row, **asked)
        assert answer.status_code == (404 if row.operation in OF_ONE else 200)
        inner = (inside.team.id, inside.token.id, LABEL, CI, '"tasks":1')
        assert [trace for trace in inner if trace in answer.text] == []
        if row.operation not in OF_ONE:
            assert SESSION not in answer.text
            assert HASH not in answer.text


@pytest.mark.parametrize("row", [row for row in ROUTES if row.operation in OF_ONE], ids=named)
def test_404_is_the_same_for_data_of_another_team_and_unknown_data(
    outside: Side, row: RouteInfo
) -> None:
    theirs = outside.read(row, since="2020-01-01")
    nobodys = outside.read(
        row, session="X" * len(SESSION), name="X" * len(HASH), since="2020-01-01"
    )
    assert theirs.status_code == nobodys.status_code == 404
    assert re.sub(f"{SESSION}|{HASH}", "", theirs.text) == re.sub("X{9,}", "", nobodys.text)


@pytest.mark.parametrize("row", ROUTES, ids=named)
def test_403_is_the_same_for_another_team_and_unknown_team(
    inside: Side, outside: Side, owner_outside: str, row: RouteInfo
) -> None:
    refused = [
        outside.read(row, slug="inside"),
        outside.read(row, teamId=inside.team.id),
        outside.read(row, slug="no-such-team"),
        outside.read(row, teamId="team_none"),
        outside.read(row, slug=["outside", "inside"]),
        outside.read(row, owner_outside, slug="inside"),
    ]
    assert {(one.status_code, error_code(one)) for one in refused} == {FORBIDDEN}
    assert len({one.text for one in refused}) == 1


@pytest.mark.parametrize("row", ROUTES, ids=named)
def test_every_role_except_billing_reads_reports(
    inside: Side, people: dict[Role, str], row: RouteInfo
) -> None:
    ever = {"since": "2020-01-01", "until": "2100-01-01", "bucket": "month"}
    told = inside.read(row, **ever)
    assert told.status_code == 200
    for role, secret in people.items():
        answer = inside.read(row, secret, **ever)
        if role is Role.BILLING:
            assert (answer.status_code, error_code(answer)) == FORBIDDEN
            assert "analytics" in answer.json()["message"]
        else:
            assert answer.text == told.text


def test_billing_role_reads_usage(inside: Side, people: dict[Role, str]) -> None:
    path = f"/v1/teams/{inside.team.slug}/usage"
    answer = inside.team_server.server.request("GET", path, token=people[Role.BILLING])
    assert answer.status_code == 200
    used = answer.json()["current"]["used"]
    assert (used["events"], used["uploadedBytes"]) == (1, 100)


@pytest.mark.parametrize("row", ROUTES, ids=named)
def test_only_the_analytics_scope_allows_reports(inside: Side, row: RouteInfo) -> None:
    create = inside.team_server.accounts.tokens.create
    for scope in Scope:
        _, secret = create(inside.team, "", scopes=[scope])
        status = inside.read(row, secret).status_code
        assert status == (200 if scope is Scope.ANALYTICS else 403)


def test_same_session_and_hash_are_separate_in_two_teams(
    inside: Side, team_server: TeamServer
) -> None:
    twin = side(team_server, "twin", "a-label-of-the-twin")
    hit = event(sessionId=SESSION, hash=HASH, duration=7)
    answer = team_server.server.request(
        "POST",
        "/v8/artifacts/events",
        token=twin.secret,
        content=body(hit, event(sessionId=SESSION)),
    )
    assert answer.is_success
    theirs, ours = (one.read(ROUTES_BY_NAME["getRun"]).json() for one in (twin, inside))
    assert (theirs["run"]["tasks"], theirs["run"]["localHits"]) == (2, 2)
    assert (ours["run"]["tasks"], ours["run"]["localHits"]) == (1, 0)
    theirs, ours = (one.read(ROUTES_BY_NAME["getArtifact"]).json() for one in (twin, inside))
    assert theirs["artifact"] is None
    assert ours["artifact"]["hits"] == {"local": 0, "remote": 0}
    assert [use["outcome"] for use in theirs["uses"] + ours["uses"]] == ["local_hit", "miss"]
