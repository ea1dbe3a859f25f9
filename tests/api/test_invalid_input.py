"""Invalid input to the team API is refused by name and changes nothing."""

from typing import Any

import pytest

from tests.support.client_operations import error_code
from tests.support.team_fixture import TeamFixture, TeamServer

HUGE_NUMBER = 10**30

INVALID_INPUT: list[Any] = [
    ("PATCH", "settings", {"remoteCaching": "off"}, "remoteCaching"),
    ("PATCH", "settings", {"remoteCaching": None}, "remoteCaching"),
    ("PATCH", "settings", {"requestsPerMinute": -1}, "requestsPerMinute"),
    ("PATCH", "settings", {"requestsPerMinute": 1.5}, "requestsPerMinute"),
    ("PATCH", "settings", {"requestsPerMinute": "many"}, "requestsPerMinute"),
    ("PATCH", "settings", {"requestsPerMinute": HUGE_NUMBER}, "requestsPerMinute"),
    ("PATCH", "settings", {"name": ""}, "name"),
    ("PATCH", "settings", {"name": "x" * 101}, "name"),
    ("PATCH", "settings", {"name": " "}, "name"),
    ("PATCH", "settings", {"name": " ", "remoteCaching": False}, "name"),
    ("PATCH", "settings", {"name": "New", "requestsPerMinute": -1}, "requestsPerMinute"),
    ("PATCH", "settings", {"name": "two\nlines"}, "name"),
    ("PATCH", "settings", {"remoteCaching": 0}, "remoteCaching"),
    ("PATCH", "settings", {"requestsPerMinute": "5"}, "Minute"),
    ("PATCH", "billing", {"limits": {"events": "null"}}, "events"),
    ("PATCH", "settings", {"softBlocked": False}, "softBlocked"),
    ("PATCH", "settings", [], "array"),
    ("PATCH", "billing", {"limits": {"uploadedBytes": -1}}, "limits.uploadedBytes"),
    ("PATCH", "billing", {"limits": {"storedBytes": "200GB"}}, "limits.storedBytes"),
    ("PATCH", "billing", {"limits": {"events": 0.5}}, "limits.events"),
    ("PATCH", "billing", {"limits": {"requests": True}}, "limits.requests"),
    ("PATCH", "billing", {"limits": {"downloadedBytes": 2**63}}, "limits.downloadedBytes"),
    ("PATCH", "billing", {"limits": {"downloadedBytes": HUGE_NUMBER}}, "limits.downloadedBytes"),
    ("PATCH", "billing", {"limits": {"downloads": 1}}, "downloads"),
    ("PATCH", "billing", {"limits": None}, "limits"),
    ("PATCH", "billing", {"limit": {"events": 1}}, "limit"),
    ("PATCH", "billing", {"limits": {"events": 1, "requests": -1}}, "limits.requests"),
    ("PATCH", "billing", {"spendCap": "lots"}, "spendCap"),
    ("PATCH", "billing", {"spendCap": -1}, "spendCap"),
    ("PATCH", "billing", {"spendCap": "1e99"}, "spendCap"),
    ("PATCH", "billing", {"spendCap": 1e300}, "spendCap"),
    ("PATCH", "billing", {"spendCap": "NaN"}, "spendCap"),
    ("PATCH", "billing", {"spendCap": "Infinity"}, "spendCap"),
    ("PATCH", "billing", {"spendCap": "0.0000001"}, "spendCap"),
    ("PATCH", "billing", {"spendCap": True}, "spendCap"),
    ("PATCH", "billing", {"spendCap": {}}, "spendCap"),
    ("PATCH", "billing", {"prices": {"uploadedGb": -0.01}}, "prices.uploadedGb"),
    ("PATCH", "billing", {"prices": {"storedGb": "free"}}, "prices.storedGb"),
    ("PATCH", "billing", {"prices": {"millionEvents": None}}, "prices.millionEvents"),
    ("PATCH", "billing", {"prices": {"egress": 1}}, "egress"),
    ("PATCH", "billing", {"cycleDay": 0}, "cycleDay"),
    ("PATCH", "billing", {"cycleDay": 32}, "cycleDay"),
    ("PATCH", "billing", {"cycleDay": "15"}, "cycleDay"),
    ("PATCH", "billing", {"cycleDay": HUGE_NUMBER}, "cycleDay"),
    ("PATCH", "billing", {"currency": "euro"}, "currency"),
    ("PATCH", "billing", {"currency": "eur"}, "currency"),
    ("PATCH", "billing", {"currency": "EUR\n"}, "currency"),
    ("PATCH", "billing", {"currency": 978}, "currency"),
    ("PATCH", "billing", {"cycleDay": 3, "spendCap": "1", "currency": "?"}, "currency"),
    ("POST", "members", {"email": "DEVELOPER", "role": "BOSS"}, "role"),
    ("POST", "members", {"email": "no address"}, "address"),
    ("POST", "members", {"email": 5}, "email"),
    ("POST", "members", {"role": "VIEWER"}, "email"),
    ("POST", "members", {"email": "DEVELOPER"}, "already"),
    ("PATCH", "members/DEVELOPER", {"role": "owner"}, "role"),
    ("PATCH", "members/DEVELOPER", {"role": None}, "role"),
    ("PATCH", "members/DEVELOPER", {"remoteCaching": "no"}, "remoteCaching"),
    ("PATCH", "members/DEVELOPER", {"scopes": ["read"]}, "scopes"),
    ("PATCH", "members/OWNER", {"role": "MEMBER"}, "last owner"),
    ("DELETE", "members/OWNER", None, "last owner"),
    ("POST", "leave", None, "last owner"),
    ("POST", "tokens", {"scopes": []}, "scopes"),
    ("POST", "tokens", {"scopes": ["snapshot"]}, "scopes[0]"),
    ("POST", "tokens", {"scopes": "read"}, "scopes"),
    ("POST", "tokens", {"expiresIn": "soon"}, "expiresIn"),
    ("POST", "tokens", {"expiresIn": "-1d"}, "expiresIn"),
    ("POST", "tokens", {"expiresIn": 30}, "expiresIn"),
    ("POST", "tokens", {"expiresIn": "9" * 400 + "d"}, "100 years"),
    ("POST", "tokens", {"label": "x" * 201}, "label"),
    ("POST", "tokens", {"label": "bell \x07"}, "label"),
    ("POST", "tokens", {"team": "default"}, "team"),
    ("POST", "tokens/TOKEN/rotate", {"overlap": "a while"}, "overlap"),
    ("POST", "tokens/TOKEN/rotate", {"overlap": None}, "overlap"),
    ("POST", "/v1/user/tokens", {"team": "nobodys"}, "team"),
    ("POST", "/v1/user/tokens", {"scopes": []}, "scopes"),
    ("GET", "usage?cycles=-1", None, "cycles"),
    ("GET", "usage?cycles=all", None, "cycles"),
    ("GET", "audit?limit=0", None, "limit"),
    ("GET", "audit?limit=1001", None, "limit"),
    ("GET", "audit?cursor=last", None, "cursor"),
    ("GET", "audit/export?format=xml", None, "format"),
]


def snapshot(team: TeamFixture) -> dict[str, Any]:
    """Everything that the API returns about the team."""
    paths = ("settings", "billing", "members", "tokens", "audit", "/v1/user/tokens")
    responses = {path: team.api("GET", path) for path in paths}
    for token in responses["tokens"]["tokens"] + responses["/v1/user/tokens"]["tokens"]:
        del token["lastUsedAt"]
    return responses


@pytest.fixture(scope="module")
def team(team_server: TeamServer) -> TeamFixture:
    """One team for all tests, because no request changes it."""
    team = team_server.create_team()
    team.api("POST", "tokens", {"label": "CI"})
    return team


@pytest.mark.parametrize(("method", "path", "body", "expected_text"), INVALID_INPUT)
def test_invalid_input_is_named_and_changes_nothing(
    team: TeamFixture, method: str, path: str, body: Any, expected_text: str
) -> None:
    before = snapshot(team)
    path = path.replace("DEVELOPER", team.developer.id).replace("OWNER", team.owner.id)
    path = path.replace("TOKEN", before["tokens"]["tokens"][0]["id"])
    path = path if path.startswith("/") else f"/v1/teams/{team.record.slug}/{path}"
    if isinstance(body, dict) and body.get("email") == "DEVELOPER":
        body = {**body, "email": team.developer.email}

    response = team.server.request(
        method, path, token=team.owner_token, **({} if body is None else {"json": body})
    )

    assert (response.status_code, error_code(response)) == (400, "bad_request")
    assert expected_text in response.json()["message"]
    assert snapshot(team) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b'"on"', b"\xff", b"[" * 100_000],
    ids=lambda content: repr(content[:9]),
)
@pytest.mark.parametrize("path", ["settings", "billing"])
def test_body_that_is_not_a_json_object_is_refused(
    team: TeamFixture, path: str, content: bytes
) -> None:
    before = snapshot(team)
    response = team.server.request(
        "PATCH", f"/v1/teams/{team.record.slug}/{path}", token=team.owner_token, content=content
    )
    assert (response.status_code, error_code(response)) == (400, "bad_request")
    assert snapshot(team) == before


@pytest.mark.parametrize("body", [{"softBlocked": False}, {"paymentMissing": True, "spendCap": 5}])
def test_owner_cannot_change_blocks(team: TeamFixture, body: dict[str, Any]) -> None:
    before = snapshot(team)
    response = team.server.request(
        "PATCH", f"/v1/teams/{team.record.slug}/billing", token=team.owner_token, json=body
    )
    assert (response.status_code, error_code(response)) == (403, "forbidden")
    assert snapshot(team) == before
