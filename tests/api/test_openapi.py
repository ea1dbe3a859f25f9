"""Generated requests, against our own documentation and against the published contract.

Nothing may end in a 5xx, nothing invalid may be accepted, nothing valid refused.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import Case, Config
from schemathesis.checks import CheckFunction, ignored_auth, unsupported_method

from hitrate.auth.models import Scope
from tests.support.all_routes import documentation
from tests.support.event_factory import body, event
from tests.support.server import Server

PUBLISHED = Path(__file__).with_name("published_contract.json")

# A team made up is always a wrong one: refused before anything else of a request is looked at.
PLACES = {"hash": {"pattern": "^[A-Za-z0-9_-]{1,256}$"}, "team": {"enum": ["generated"]}}

# A generated team is always a wrong one; which texts are a time or a time zone no schema says; the
# length of a body is the HTTP library's to say.
LEFT_OUT = {"teamId", "slug", "since", "until", "timezone", "Content-Length"}

# Nor does one say which texts are a time or an amount of money, and which can be printed.
FIELDS_LEFT_OUT = {"team", "expiresIn", "overlap", "prices", "spendCap", "label", "name"}

REPORTS = "^/v1/(analytics|runs|artifacts|export)"

# Walked elsewhere: methods in test_methods.py, who is let in in test_access.py.
NOT_HERE = [unsupported_method, ignored_auth]


def load(document: dict[str, Any], max_examples: int = 60) -> Any:
    """The schema to generate from: without what cannot be right, with the form of our hashes."""
    for address, path in document["paths"].items():
        # The reports know hashes that nobody could store.
        places = {} if re.match(REPORTS, address) else PLACES
        for operation in path.values():
            kept = [p for p in operation.get("parameters", ()) if p["name"] not in LEFT_OUT]
            operation["parameters"] = kept
            if operation["operationId"] == "uploadArtifact":
                operation["requestBody"]["required"] = False  # none is an empty one
            for parameter in kept:
                if parameter["in"] == "path" and parameter["name"] in places:
                    parameter["schema"] |= places[parameter["name"]]
    for schema in document.get("components", {}).get("schemas", {}).values():
        if schema.get("additionalProperties") is False:
            for name in FIELDS_LEFT_OUT & schema["properties"].keys():
                del schema["properties"][name]
    # Headers that no document names are nobody's error.
    config = Config()
    config.projects.default.generation.update(
        allow_extra_parameters=False, max_examples=max_examples
    )
    return schemathesis.openapi.from_dict(document, config=config)


@pytest.fixture(scope="session")
def cache_token(shared_server: Server) -> str:
    """For the contract: a token of a team that nothing shuts."""
    shared_server.command("team", "create", "contract")
    return shared_server.create_token(team="contract")


@pytest.fixture(scope="session")
def team_token(shared_server: Server) -> str:
    """For a team's own addresses: a token of the team, which does not leave it."""
    shared_server.command("team", "create", "generated")
    return shared_server.create_token("--scopes", ",".join(Scope), team="generated")


@pytest.fixture(scope="session")
def reader_token(shared_server: Server) -> str:
    """For the reports: a token that reads those of a team that did something."""
    shared_server.command("team", "create", "reported")
    token = shared_server.create_token("--scopes", "write,events,analytics", team="reported")
    for method, path, content in (
        ("PUT", "/v8/artifacts/0", b"x"),
        ("POST", "/v8/artifacts/events", body(event(sessionId="0", hash="0"))),
    ):
        assert shared_server.request(method, path, token=token, content=content).is_success
    return token


@pytest.fixture(scope="session")
def persons_token(shared_server: Server) -> str:
    """For a person's own account."""
    person = "generated@hitrate.example"
    shared_server.command("user", "create", person, "--no-password")
    return shared_server.command(
        "token", "create", "--user", person, "--scopes", ",".join(Scope)
    ).strip()


ours = load(documentation())
accounts = load(documentation(), max_examples=25)
published = load(json.loads(PUBLISHED.read_text()))


def check(
    case: Case[Any], server: Server, token: str, excluded: Sequence[CheckFunction] = NOT_HERE
) -> None:
    case.call_and_validate(
        base_url=server.url,
        headers={"authorization": f"Bearer {token}"},
        excluded_checks=list(excluded),
    )


@ours.include(path_regex="^/(v8|v1/events)").parametrize()
def test_our_documentation_of_the_cache_holds(
    case: Case[Any], shared_server: Server, cache_token: str
) -> None:
    check(case, shared_server, cache_token)


@accounts.include(path_regex="^/v1/teams/").parametrize()
def test_our_documentation_of_teams_holds(
    case: Case[Any], shared_server: Server, team_token: str
) -> None:
    check(case, shared_server, team_token, NOT_HERE)


@accounts.include(path_regex=REPORTS).parametrize()
def test_our_documentation_of_reports_holds(
    case: Case[Any], shared_server: Server, reader_token: str
) -> None:
    check(case, shared_server, reader_token)


@accounts.exclude(path_regex=f"{REPORTS}|^/(v8|v1/events|v1/teams|v1/operator)/?").parametrize()
def test_our_documentation_of_the_rest_holds(
    case: Case[Any], shared_server: Server, persons_token: str
) -> None:
    check(case, shared_server, persons_token, NOT_HERE)


@published.parametrize()
def test_the_published_contract_holds(
    case: Case[Any], shared_server: Server, cache_token: str
) -> None:
    check(case, shared_server, cache_token)
