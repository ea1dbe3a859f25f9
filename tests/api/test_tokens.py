"""`/v1/teams/{team}/tokens`: permissions, rotation, invalid input and secrecy."""

import json
import socket
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa

from hitrate.auth import tokens
from hitrate.auth.models import Scope
from hitrate.db.tables import TOKENS
from hitrate.roles import Role
from hitrate.teams.models import Team
from tests.support.account_api import AccountApi
from tests.support.account_fixture import run_concurrently
from tests.support.server import eventually

OTHER_ROLES = sorted(set(Role) - {Role.OWNER})
JSON = {"content-type": "application/json"}


def state_by_label(api: AccountApi, team: Team) -> dict[str, str]:
    """State of each token of the team, by its label."""
    tokens = api.ok("GET", f"{team.slug}/tokens", api.operator)["tokens"]
    return {token["label"]: token["state"] for token in tokens}


def test_token_is_created_listed_rotated_and_revoked(api: AccountApi) -> None:
    team = api.create_team()
    owner, token = api.create_owner(team)
    path = f"{team.slug}/tokens"
    created = api.ok(
        "POST", path, token, json={"label": "ci", "scopes": ["read"], "expiresIn": "30d"}
    )
    assert (created["label"], created["scopes"], created["state"]) == ("ci", ["read"], "valid")
    assert (created["team"], created["user"], created["lastUsedAt"]) == (team.slug, None, None)
    assert api.status("GET", "/v8/artifacts/status", created["token"]) == 200
    new = api.ok("POST", f"{path}/{created['id']}/rotate", token, json={"overlap": "1h"})
    assert (new["label"], new["scopes"]) == ("ci", ["read"])
    for secret in (created["token"], new["token"]):
        assert api.status("GET", "/v8/artifacts/status", secret) == 200
    assert api.ok("DELETE", f"{path}/{new['id']}", token)["state"] == "revoked"
    assert api.status("GET", "/v8/artifacts/status", new["token"]) == 401
    assert api.ok("DELETE", f"{path}/{new['id']}", token)["state"] == "revoked"
    listing = api.call("GET", path, token).text
    assert created["id"] in listing
    assert not [s for s in (created["token"], new["token"], token) if s in listing]
    assert api.audit_actions(team)[-3:] == ["token.create", "token.rotate", "token.revoke"]
    assert api.audit.page(team.id, 1)[0].actor_name == owner.email


def test_default_overlap_of_a_rotation_is_one_hour(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    old = api.ok("POST", f"{team.slug}/tokens", token, json={})
    api.ok("POST", f"{team.slug}/tokens/{old['id']}/rotate", token)
    expires_at_ms = api.tokens.get(old["id"]).expires_at_ms
    assert expires_at_ms is not None
    assert 0 <= api.clock.now_ms() + 3_600_000 - expires_at_ms < 60_000


@pytest.mark.parametrize("role", OTHER_ROLES)
def test_other_roles_cannot_manage_team_tokens(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    _, token = api.create_member(team, role)
    other, _ = api.create_token(team)
    path = f"{team.slug}/tokens"
    assert api.status("GET", path, token) == 403
    assert api.status("POST", path, token, json={"scopes": ["read"]}) == 403
    assert api.status("POST", f"{path}/{other.id}/rotate", token, json={}) == 403
    assert api.status("DELETE", f"{path}/{other.id}", token) == 403
    assert state_by_label(api, team) == {"": "valid"}


@pytest.mark.parametrize("scope", sorted(set(Scope) - {Scope.ADMIN}))
def test_admin_token_cannot_create_or_rotate_a_token_with_more_scopes(
    api: AccountApi, scope: Scope
) -> None:
    team = api.create_team()
    owner, _ = api.create_owner(team)
    wider, _ = api.create_token(team, scopes=[scope, Scope.ADMIN], label="wider")
    for token in (
        api.create_team_token(team, Scope.ADMIN),
        api.create_user_token(owner, Scope.ADMIN),
        api.create_user_token(owner, Scope.ADMIN, team=team),
    ):
        path = f"{team.slug}/tokens"
        for scopes in ([scope], [scope, "admin"], ["admin", scope, scope]):
            status, message = api.client_error("POST", path, token, json={"scopes": scopes})
            assert status == 403
            assert scope.value in message
        assert api.status("POST", path, token, json={}) == 403  # all but admin, if left out
        assert api.status("POST", f"{path}/{wider.id}/rotate", token, json={}) == 403
        assert api.ok("POST", path, token, json={"scopes": ["admin"]})["scopes"] == ["admin"]


def test_team_token_creates_tokens_with_its_own_scopes(api: AccountApi) -> None:
    team = api.create_team()
    for extra in combinations(sorted(set(Scope) - {Scope.ADMIN}), 2):
        token = api.create_team_token(team, Scope.ADMIN, *extra)
        created = api.ok("POST", f"{team.slug}/tokens", token, json={"scopes": list(extra)})
        assert created["scopes"] == sorted(extra)


def test_owner_cannot_manage_tokens_of_other_teams_and_users(api: AccountApi) -> None:
    own_team, other_team = api.create_team(), api.create_team()
    _, token = api.create_owner(own_team)
    member, _ = api.create_member(own_team, Role.MEMBER)
    other_tokens = [
        api.create_token(other_team)[0],
        api.create_token(own_team, member)[0],
        api.create_token(None, member)[0],
        api.create_token(scopes=())[0],
    ]
    for other_token in other_tokens:
        for team in (own_team.slug, own_team.id):
            path = f"{team}/tokens/{other_token.id}"
            assert api.status("POST", f"{path}/rotate", token, json={}) == 404
            assert api.status("DELETE", path, token) == 404
        path = f"{other_team.slug}/tokens/{other_token.id}"
        assert api.status("DELETE", path, token) == 403
        assert api.status("DELETE", f"{path}?slug={own_team.slug}", token) == 403
        assert api.tokens.get(other_token.id) == other_token
    assert api.ok("GET", f"{own_team.slug}/tokens", token) == {"tokens": []}


@pytest.mark.parametrize("attempt", range(2))
def test_concurrent_rotations_create_one_successor(api: AccountApi, attempt: int) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    old, _ = api.create_token(team)
    statuses: list[int] = []
    path = f"{team.slug}/tokens/{old.id}/rotate"
    run_concurrently(*[lambda: statuses.append(api.status("POST", path, token, json={}))] * 3)
    assert sorted(statuses) == [201, 400, 400], attempt
    assert len(api.tokens.list_for_team(team)) == 2


def test_token_can_rotate_and_revoke_itself(api: AccountApi) -> None:
    team = api.create_team()
    token, secret = api.create_token(team, scopes=[Scope.ADMIN])
    path = f"{team.slug}/tokens/{token.id}"
    new = api.ok("POST", f"{path}/rotate", secret, json={"overlap": "0s"})["token"]
    assert api.status("GET", team.slug, secret) == 401
    assert api.status("DELETE", path, new) == 200


def test_revocation_outside_the_server_takes_effect_within_five_seconds(api: AccountApi) -> None:
    team = api.create_team()
    token, secret = api.create_token(team)
    assert api.status("GET", "/v8/artifacts/status", secret) == 200
    api.tokens.revoke(token)
    eventually(lambda: api.status("GET", "/v8/artifacts/status", secret) == 401, 5)
    eventually(lambda: api.status("GET", team.slug, secret) == 401, 5)


def test_request_is_refused_when_its_token_is_revoked_before_the_body_arrives(
    api: AccountApi,
) -> None:
    """The permission counts at the end of the body, however long it takes to arrive."""
    team = api.create_team()
    old, secret = api.create_token(team, scopes=[Scope.ADMIN])
    body = b'{"label": "afterwards", "scopes": ["admin"]}'
    head = (
        f"POST /v1/teams/{team.slug}/tokens HTTP/1.1\r\nHost: hitrate\r\nConnection: close\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=15) as client:
        client.sendall(head.encode() + body[:5])
        assert api.status("GET", team.slug, secret) == 200  # the first was let in before this one
        api.ok("DELETE", f"{team.slug}/tokens/{old.id}", api.operator)
        client.sendall(body[5:])
        response = b"".join(iter(partial(client.recv, 65536), b""))
    assert response.startswith(b"HTTP/1.1 401 ")
    assert state_by_label(api, team) == {"": "revoked"}


@pytest.mark.parametrize(
    ("body", "expected_text"),
    [
        ({"label": "x" * 201}, "label"),
        ({"label": "a\nb"}, "printable"),
        ({"label": "a\0"}, "printable"),
        ({"label": None}, "label"),
        ({"label": 5}, "label"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "root"),
        ({"scopes": ["READ"]}, "READ"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"expiresIn": "-5s"}, "$.expiresIn is '-5s'"),
        ({"expiresIn": "soon"}, "duration"),
        ({"expiresIn": ""}, "duration"),
        ({"expiresIn": "2020-01-01"}, "duration"),
        ({"expiresIn": 5}, "expiresIn"),
        ({"expiresIn": "101w" + "9" * 100}, "duration"),
        ({"expiresIn": "99999999999d"}, "100 years"),
        ({"expiresIn": "9" * 500}, "100 years"),
        ({"expires_in": "5s"}, "expires_in"),
        ({"user": "usr_x"}, "user"),
        ({"team": "x"}, "team"),
        ([], "object"),
        (None, "data"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_new_token_is_refused_by_name(
    api: AccountApi, body: object, expected_text: str
) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    status, message = api.client_error("POST", f"{team.slug}/tokens", token, json=body)
    assert status == 400
    assert expected_text in message
    assert len(message) < 500
    assert state_by_label(api, team) == {}


@pytest.mark.parametrize("overlap", ["-1s", "soon", "", "9" * 400])
def test_invalid_overlap_is_refused(api: AccountApi, overlap: str) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    old, _ = api.create_token(team)
    path = f"{team.slug}/tokens/{old.id}/rotate"
    assert api.status("POST", path, token, json={"overlap": overlap}) == 400
    assert api.tokens.list_for_team(team) == [old]


def test_token_created_with_zero_lifetime_is_expired(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    created = api.ok("POST", f"{team.slug}/tokens", token, json={"expiresIn": "0s"})
    assert created["state"] == "expired"
    assert api.status("GET", team.slug, created["token"]) == 401


@pytest.mark.parametrize(
    "label", ["=1+1", "'; DROP TABLE tokens; --", '"}]', "é😀", "[/red]", "%s"]
)
def test_printable_label_is_returned_unchanged(api: AccountApi, label: str) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    api.ok("POST", f"{team.slug}/tokens", token, json={"label": label})
    assert state_by_label(api, team) == {label: "valid"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"label": "\\ud800"}', 400),
        (b'{"label": "' + b"x" * 9_000_000 + b'"}', 400),
        (b'{"label": "' + b"x" * 11_000_000 + b'"}', 413),
        (b'{"label": "\xff"}', 400),
        (b"[" * 20_000, 400),
        (b'{"label":' * 20_000, 400),
    ],
    ids=lambda value: f"{value[:12]!r}" if isinstance(value, bytes) else str(value),
)
def test_invalid_json_or_too_large_body_is_refused(
    api: AccountApi, body: bytes, status: int
) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    assert api.status("POST", f"{team.slug}/tokens", token, content=body, headers=JSON) == status
    assert state_by_label(api, team) == {}


def test_one_of_ten_thousand_tokens_is_revoked(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    secrets = [tokens.new_secret() for _ in range(10_000)]
    rows: list[dict[str, Any]] = [
        {"id": f"tok_{team.id}{n:05}", "hash": tokens.digest(secret.encode()),
         "team_id": team.id,
         "label": str(n), "scopes": "read", "created_at": n}
        for n, secret in enumerate(secrets)
    ]  # fmt: skip
    with api.engine.begin() as connection:
        connection.execute(sa.insert(TOKENS), rows)
    assert len(state_by_label(api, team)) == 10_000
    assert api.status("GET", "/v8/artifacts/status", secrets[-1]) == 200
    api.ok("DELETE", f"{team.slug}/tokens/{rows[-1]['id']}", token)
    assert api.status("GET", "/v8/artifacts/status", secrets[-1]) == 401
    with api.engine.begin() as connection:
        connection.execute(sa.delete(TOKENS).where(TOKENS.c.team_id == team.id))


def test_secrets_are_not_in_logs_responses_or_files(api: AccountApi) -> None:
    team = api.create_team()
    owner, token = api.create_owner(team)
    path = f"{team.slug}/tokens"
    created = [api.ok("POST", path, token, json={"label": str(n)}) for n in range(2)]
    created.append(api.ok("POST", f"{path}/{created[0]['id']}/rotate", token))
    secrets = [token, api.operator, api.server.token, *(one["token"] for one in created)]
    for wrong in (token[:-1] + "0", token + "x"):
        api.status("GET", team.slug, wrong)
        api.status("PUT", "/v8/artifacts/x", wrong, content=b"x")
    for secret in secrets:  # in every place where it does not belong
        api.status("POST", path, token, json={"label": "x", "expiresIn": secret})
        api.status("POST", path, token, json={"scopes": [secret]})
        api.status("GET", f"{secret}/tokens", token)
        api.status("DELETE", f"{path}/{secret}", token)
        api.status("GET", f"{team.slug}/audit?action={secret}", token)
        api.status("GET", f"{team.slug}/audit?cursor={secret}", token)
        api.status("POST", f"{team.slug}/members", token, json={"email": secret})
    responses = [
        api.call("GET", where, token).text
        for where in (path, f"{team.slug}/audit", f"{team.slug}/audit/export?format=csv",
                      f"{team.slug}/members", "/v1/user", "/v1/user/tokens", team.slug)
    ]  # fmt: skip
    contents = [api.server.log.encode(), *(response.encode() for response in responses)]
    contents += [file.read_bytes() for file in api.server.data_dir.rglob("*") if file.is_file()]
    for secret in secrets:
        for content in contents:
            assert secret.encode() not in content
            assert secret[3:30].encode() not in content
    assert json.loads(responses[4])["email"] == owner.email
