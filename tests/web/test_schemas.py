"""Generated requests, against our own documentation and against the published contract.

Nothing may end in a 5xx, nothing invalid may be accepted, nothing valid refused.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import Case, Config
from schemathesis.checks import ignored_auth, unsupported_method

from tests.support.server import Server
from tests.web.routes import documentation

PUBLISHED = Path(__file__).with_name("published_contract.json")
HASH = "^[A-Za-z0-9_-]{1,256}$"

# A generated team is always a wrong one; which texts are a time no schema says; the length of a
# body is the HTTP library's to say.
LEFT_OUT = {"teamId", "slug", "since", "Content-Length"}
NEEDS_OPERATOR = "^/v1/operator/"

# Not HTTP's business here: methods are walked in test_access.py.
NOT_HERE = [unsupported_method, ignored_auth]


def load(document: dict[str, Any]) -> Any:
    """The schema to generate from: without what cannot be right, with the form of our hashes."""
    for path in document["paths"].values():
        for operation in path.values():
            kept = [p for p in operation.get("parameters", ()) if p["name"] not in LEFT_OUT]
            operation["parameters"] = kept
            if operation["operationId"] == "uploadArtifact":
                operation["requestBody"]["required"] = False  # none is an empty one
            for parameter in kept:
                if parameter["name"] == "hash" and parameter["in"] == "path":
                    parameter["schema"]["pattern"] = HASH
    # Headers that no document names are nobody's error.
    config = Config()
    config.projects.default.generation.update(allow_extra_parameters=False, max_examples=60)
    return schemathesis.openapi.from_dict(document, config=config)


@pytest.fixture(scope="session")
def generated_token(shared_server: Server) -> str:
    shared_server.command("team", "create", "generated")
    return shared_server.create_token(team="generated")


ours = load(documentation())
published = load(json.loads(PUBLISHED.read_text()))


def check(case: Case[Any], server: Server, token: str) -> None:
    case.call_and_validate(
        base_url=server.url,
        headers={"authorization": f"Bearer {token}"},
        excluded_checks=NOT_HERE,
    )


@ours.exclude(path_regex=NEEDS_OPERATOR).parametrize()
def test_our_own_documentation_holds(
    case: Case[Any], shared_server: Server, generated_token: str
) -> None:
    check(case, shared_server, generated_token)


@published.parametrize()
def test_the_published_contract_holds(
    case: Case[Any], shared_server: Server, generated_token: str
) -> None:
    check(case, shared_server, generated_token)
