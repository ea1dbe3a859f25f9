"""Requests generated from the server's OpenAPI document and from the published contract.

No response is a 5xx, no invalid request is accepted, and no valid request is rejected.
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

# Path parameters that a schema describes more loosely than the server. An unknown team would be
# rejected before the rest of a request is checked.
PATH_PARAMETERS = {"hash": {"pattern": "^[A-Za-z0-9_-]{1,256}$"}, "team": {"enum": ["generated"]}}

# Parameters that are not generated: a random team never exists, no schema describes times and time
# zones, and the HTTP library sets the length of the body.
EXCLUDED_PARAMETERS = {"teamId", "slug", "since", "until", "timezone", "Content-Length"}

# Fields that are not generated: no schema describes times, amounts and printable text.
EXCLUDED_FIELDS = {"team", "expiresIn", "overlap", "prices", "spendCap", "label", "name"}

REPORTS = "^/v1/(analytics|runs|artifacts|export)"

# Tested elsewhere: methods in test_methods.py, authorization in test_access.py.
EXCLUDED_CHECKS = [unsupported_method, ignored_auth]


def load(openapi: dict[str, Any], max_examples: int = 60) -> Any:
    """Return the schema to generate from, without the parameters and fields above."""
    for template, path in openapi["paths"].items():
        # Reports accept hashes that cannot be uploaded.
        path_parameters = {} if re.match(REPORTS, template) else PATH_PARAMETERS
        for operation in path.values():
            parameters = [
                p for p in operation.get("parameters", ()) if p["name"] not in EXCLUDED_PARAMETERS
            ]
            operation["parameters"] = parameters
            if operation["operationId"] == "uploadArtifact":
                operation["requestBody"]["required"] = False  # a missing body is an empty artifact
            for parameter in parameters:
                if parameter["in"] == "path" and parameter["name"] in path_parameters:
                    parameter["schema"] |= path_parameters[parameter["name"]]
    for schema in openapi.get("components", {}).get("schemas", {}).values():
        if schema.get("additionalProperties") is False:
            for name in EXCLUDED_FIELDS & schema["properties"].keys():
                del schema["properties"][name]
    # Undocumented headers are ignored, so generating them proves nothing.
    config = Config()
    config.projects.default.generation.update(
        allow_extra_parameters=False, max_examples=max_examples
    )
    return schemathesis.openapi.from_dict(openapi, config=config)


@pytest.fixture(scope="session")
def cache_token(shared_server: Server) -> str:
    """A token for the contract, of a team that no other test changes."""
    shared_server.command("team", "create", "contract")
    return shared_server.create_token(team="contract")


@pytest.fixture(scope="session")
def team_token(shared_server: Server) -> str:
    """A token for the routes of a team, which is valid in this team only."""
    shared_server.command("team", "create", "generated")
    return shared_server.create_token("--scopes", ",".join(Scope), team="generated")


@pytest.fixture(scope="session")
def reader_token(shared_server: Server) -> str:
    """A token for reports, of a team with a run and an artifact."""
    shared_server.command("team", "create", "reported")
    token = shared_server.create_token("--scopes", "write,events,analytics", team="reported")
    for method, path, content in (
        ("PUT", "/v8/artifacts/0", b"x"),
        ("POST", "/v8/artifacts/events", body(event(sessionId="0", hash="0"))),
    ):
        assert shared_server.request(method, path, token=token, content=content).is_success
    return token


@pytest.fixture(scope="session")
def user_token(shared_server: Server) -> str:
    """A token for the routes of a user."""
    email = "generated@hitrate.example"
    shared_server.command("user", "create", email, "--no-password")
    return shared_server.command(
        "token", "create", "--user", email, "--scopes", ",".join(Scope)
    ).strip()


document = load(documentation())
document_with_few_examples = load(documentation(), max_examples=25)
contract = load(json.loads(PUBLISHED.read_text()))


def check(
    case: Case[Any], server: Server, token: str, excluded: Sequence[CheckFunction] = EXCLUDED_CHECKS
) -> None:
    case.call_and_validate(
        base_url=server.url,
        headers={"authorization": f"Bearer {token}"},
        excluded_checks=list(excluded),
    )


@document.include(path_regex="^/(v8|v1/events)").parametrize()
def test_cache_routes_match_the_document(
    case: Case[Any], shared_server: Server, cache_token: str
) -> None:
    check(case, shared_server, cache_token)


@document_with_few_examples.include(path_regex="^/v1/teams/").parametrize()
def test_team_routes_match_the_document(
    case: Case[Any], shared_server: Server, team_token: str
) -> None:
    check(case, shared_server, team_token)


@document_with_few_examples.include(path_regex=REPORTS).parametrize()
def test_report_routes_match_the_document(
    case: Case[Any], shared_server: Server, reader_token: str
) -> None:
    check(case, shared_server, reader_token)


@document_with_few_examples.exclude(
    path_regex=f"{REPORTS}|^/(v8|v1/events|v1/teams|v1/operator)/?"
).parametrize()
def test_other_routes_match_the_document(
    case: Case[Any], shared_server: Server, user_token: str
) -> None:
    check(case, shared_server, user_token)


@contract.parametrize()
def test_cache_routes_match_the_published_contract(
    case: Case[Any], shared_server: Server, cache_token: str
) -> None:
    check(case, shared_server, cache_token)
