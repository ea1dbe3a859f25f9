"""Every route with every kind of caller: who gets in is what the route's access says."""

import json

import httpx
import pytest

from hitrate.accounts.model import Access
from hitrate.accounts.store import AccountStore
from hitrate.clock import Clock
from hitrate.database import open_database
from tests.support.server import Server, eventually
from tests.web.routes import Row, all_routes

ROUTES = all_routes()

OUTSIDERS = {"nobody", "malformed", "revoked", "expired", "stranger"}
LETS_IN = {
    Access.PUBLIC: OUTSIDERS | {"reader", "writer", "operator"},
    Access.READ: {"reader", "writer", "operator"},
    Access.EVENTS: {"reader", "writer", "operator"},
    Access.WRITE: {"writer", "operator"},
    Access.OPERATOR: {"operator"},
}

BODIES = {"recordEvents": b"[]", "artifactQuery": b'{"hashes": []}', "uploadArtifact": b"x"}


@pytest.fixture(scope="module")
def callers(shared_server: Server) -> dict[str, str | None]:
    """A token for each kind of caller."""
    shared_server.command("team", "create", "strangers")
    engine = open_database(shared_server.data_dir)
    accounts = AccountStore(engine, Clock())
    revoked, revoked_secret = accounts.tokens.create(accounts.teams.find(slug="default"), "")
    accounts.tokens.revoke(revoked)
    _, operator = accounts.tokens.create(None, "operator", lifetime_s=600)
    engine.dispose()
    return {
        "nobody": None,
        "malformed": "hr_" + "x" * 38,
        "revoked": revoked_secret,
        "expired": shared_server.create_token("--expires", "0s"),
        "stranger": shared_server.create_token(team="strangers"),
        "reader": shared_server.create_token("--read-only"),
        "writer": shared_server.token,
        "operator": operator,
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_lets_in_whom_its_access_names(
    shared_server: Server, callers: dict[str, str | None], route: Row
) -> None:
    let_in = set()
    for who, token in callers.items():
        status = call(shared_server, route, token)
        assert status != 500
        if status not in (401, 403):
            let_in.add(who)
        elif who in ("nobody", "malformed", "revoked", "expired"):
            assert status == 401
        else:
            assert status == 403
    assert let_in == LETS_IN[route.access]


def call(server: Server, route: Row, token: str | None) -> int:
    answer = httpx.request(
        route.method,
        server.url + route.path.replace("{hash}", "abc"),
        params={"slug": "default"},
        headers={"authorization": f"Bearer {token}"} if token else {},
        content=BODIES.get(route.operation),
    )
    return answer.status_code


def test_the_walk_has_every_route_of_the_documentation(shared_server: Server) -> None:
    paths = httpx.get(f"{shared_server.url}/openapi.json").json()["paths"]
    documented = {(m.upper(), path) for path, methods in paths.items() for m in methods}
    walked = {(r.method, r.path) for r in ROUTES}
    assert documented <= walked
    assert walked - documented <= {("GET", "/openapi.json")} | {
        ("OPTIONS", path) for _, path in walked
    }


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
