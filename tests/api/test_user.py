"""`/v1/user`: the user's own account, and what tokens of users may do in teams."""

import pytest

from hitrate.auth.models import Scope
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support.account_api import AccountApi
from tests.support.account_fixture import ALL_SCOPES
from tests.support.server import eventually

STATUS = "/v8/artifacts/status"
OWN_TOKENS = "/v1/user/tokens"


def test_user_sees_their_account_and_teams(api: AccountApi) -> None:
    memberships = [(api.create_team(), role) for role in (Role.OWNER, Role.VIEWER)]
    user = api.create_user(*memberships)
    account = api.ok("GET", "/v1/user", api.create_user_token(user))
    assert (account["id"], account["email"], account["username"]) == (
        user.id,
        user.email,
        user.username,
    )
    assert {(t["id"], t["slug"], t["role"]) for t in account["teams"]} == {
        (team.id, team.slug, role.value) for team, role in memberships
    }
    assert api.ok("GET", "/v1/user", api.create_user_token(api.create_user()))["teams"] == []


def test_account_requires_a_user_token_with_admin_scope(api: AccountApi) -> None:
    team = api.create_team()
    user, own_token = api.create_member(team, Role.OWNER)
    own = api.create_token(None, user)[0]
    others = [api.create_team_token(team), api.operator, api.server.token]
    others += [api.create_user_token(user, scope) for scope in Scope if scope is not Scope.ADMIN]
    for token in others:
        for method, path in (
            ("GET", "/v1/user"), ("GET", OWN_TOKENS), ("POST", OWN_TOKENS),
            ("DELETE", f"{OWN_TOKENS}/{own.id}"), ("POST", f"{OWN_TOKENS}/{own.id}/rotate"),
        ):  # fmt: skip
            status, message = api.client_error(method, path, token, content=b"{}")
            assert status == 403
            assert "a user's own account" in message
    assert api.status("GET", "/v1/user", own_token) == 200
    assert api.tokens.get(own.id) == own


@pytest.mark.parametrize("role", Role)
def test_user_of_any_role_manages_their_own_tokens(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    user, token = api.create_member(team, role)
    created = api.ok(
        "POST", OWN_TOKENS, token, json={"label": "mine", "scopes": ["read"], "team": team.slug}
    )
    assert (created["user"], created["team"], created["scopes"]) == (
        user.email,
        team.slug,
        ["read"],
    )
    new = api.ok("POST", f"{OWN_TOKENS}/{created['id']}/rotate", token, json={"overlap": "0s"})
    assert api.ok("DELETE", f"{OWN_TOKENS}/{new['id']}", token)["state"] == "revoked"
    states = {t["id"]: t["state"] for t in api.ok("GET", OWN_TOKENS, token)["tokens"]}
    assert (states[created["id"]], states[new["id"]]) == ("expired", "revoked")
    assert api.audit_actions(team)[-3:] == ["token.create", "token.rotate", "token.revoke"]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
def test_scopes_do_not_exceed_the_permissions_of_the_role(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    _, token = api.create_member(team, role)
    created = api.ok("POST", OWN_TOKENS, token, json={"scopes": [scope.value for scope in Scope]})[
        "token"
    ]
    for path in ("members", "tokens", "settings", "billing"):
        allowed = path == "billing" and role is Role.BILLING
        if path in ("settings", "billing"):
            status = api.status("PATCH", f"{team.slug}/{path}", created, json={})
            assert status == (200 if allowed else 403), path
        else:
            assert api.status("POST", f"{team.slug}/{path}", created, json={}) == 403, path
    assert api.status("GET", f"{team.slug}/audit", created) == 403
    may_write = role in (Role.MEMBER, Role.DEVELOPER)
    put = api.status("PUT", f"/v8/artifacts/x?slug={team.slug}", created, content=b"x")
    assert put == (202 if may_write else 403)
    assert api.status("GET", f"{STATUS}?slug={team.slug}", created) == (
        403 if role is Role.BILLING else 200
    )


def test_token_cannot_create_or_rotate_a_token_with_more_scopes(api: AccountApi) -> None:
    user = api.create_user((api.create_team(), Role.OWNER))
    wide, _ = api.create_token(None, user, ALL_SCOPES)
    narrow = api.create_user_token(user, Scope.ADMIN, Scope.READ)
    for scopes in (["write"], ["admin", "read", "events"], [scope.value for scope in Scope]):
        status, message = api.client_error("POST", OWN_TOKENS, narrow, json={"scopes": scopes})
        assert (status, "lacks the scopes" in message) == (403, True)
    assert api.status("POST", OWN_TOKENS, narrow, json={}) == 403
    assert api.status("POST", f"{OWN_TOKENS}/{wide.id}/rotate", narrow, json={}) == 403
    assert api.ok("POST", OWN_TOKENS, narrow, json={"scopes": ["read"]})["scopes"] == ["read"]


def test_token_for_one_team_has_no_access_beyond_it(api: AccountApi) -> None:
    own_team, other_team = api.create_team(), api.create_team()
    user = api.create_user((own_team, Role.OWNER), (other_team, Role.OWNER))
    confined = api.create_user_token(user, team=own_team)
    beyond = [
        api.create_token(None, user, ALL_SCOPES)[0],
        api.create_token(other_team, user, ALL_SCOPES)[0],
    ]
    created = api.ok("POST", OWN_TOKENS, confined, json={"scopes": ["admin"]})
    assert created["team"] == own_team.slug
    for name in (other_team.slug, other_team.id, "", "nobodys", own_team.slug.upper()):
        assert api.status("POST", OWN_TOKENS, confined, json={"team": name}) == 400, name
    for token in beyond:
        assert api.status("POST", f"{OWN_TOKENS}/{token.id}/rotate", confined, json={}) == 404
        assert api.status("DELETE", f"{OWN_TOKENS}/{token.id}", confined) == 404
    assert {t["team"] for t in api.ok("GET", OWN_TOKENS, confined)["tokens"]} == {own_team.slug}
    assert [t["slug"] for t in api.ok("GET", "/v1/user", confined)["teams"]] == [own_team.slug]
    for query in (
        f"slug={other_team.slug}",
        f"teamId={other_team.id}",
        f"slug={own_team.slug}&slug={other_team.slug}",
    ):
        assert api.status("GET", f"{STATUS}?{query}", confined) == 403
    assert api.status("GET", f"{other_team.slug}/members", confined) == 403
    assert api.status("POST", f"{other_team.slug}/leave", confined) == 403


def test_user_cannot_manage_tokens_of_others(api: AccountApi) -> None:
    team = api.create_team()
    _, ann_token = api.create_owner(team)
    bob, _ = api.create_owner(team)
    others = [
        api.create_token(None, bob)[0],
        api.create_token(team, bob)[0],
        api.create_token(team)[0],
        api.create_token()[0],
    ]
    for token in others:
        assert api.status("POST", f"{OWN_TOKENS}/{token.id}/rotate", ann_token, json={}) == 404
        assert api.status("DELETE", f"{OWN_TOKENS}/{token.id}", ann_token) == 404
        assert api.tokens.get(token.id) == token


def test_token_of_a_user_without_teams_manages_only_their_account(api: AccountApi) -> None:
    token = api.create_user_token(api.create_user())
    status, message = api.client_error("GET", STATUS, token)
    assert (status, "You are in no team" in message) == (403, True)
    for query in ("slug=default", "teamId=team_x", "slug="):
        assert api.status("GET", f"{STATUS}?{query}", token) == 403
    assert api.status("GET", "default", token) == 403
    assert api.status("POST", OWN_TOKENS, token, json={"team": "default"}) == 400
    assert api.status("POST", OWN_TOKENS, token, json={}) == 201


def test_token_of_a_user_in_one_team_need_not_name_it(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_member(team, Role.DEVELOPER)
    for query in (
        "",
        f"slug={team.slug}",
        f"teamId={team.id}",
        f"slug={team.slug}&teamId={team.id}",
    ):
        assert api.status("GET", f"{STATUS}?{query}", token) == 200
    for query in ("slug=default", f"slug={team.slug}&teamId=team_x", f"teamId={team.slug}"):
        assert api.status("GET", f"{STATUS}?{query}", token) == 403


def test_token_of_a_user_in_several_teams_must_name_one(api: AccountApi) -> None:
    teams = [api.create_team() for _ in range(2)]
    token = api.create_user_token(api.create_user(*((team, Role.VIEWER) for team in teams)))
    status, message = api.client_error("GET", "/v8/artifacts/x", token)
    assert status == 400
    assert all(team.slug in message for team in teams)
    assert api.status("GET", "/v1/events", token) == 400
    assert api.status("GET", STATUS, token) == 200  # which turbo asks before it knows a team
    for team in teams:
        assert api.status("GET", f"{STATUS}?slug={team.slug}", token) == 200
        assert api.status("GET", f"{STATUS}?teamId={team.id}", token) == 200
        assert api.status("GET", team.id, token) == 200
    both = f"slug={teams[0].slug}&teamId={teams[1].id}"
    assert api.status("GET", f"{STATUS}?{both}", token) == 403
    confined = api.create_user_token(
        api.create_user(*((team, Role.VIEWER) for team in teams)), team=teams[0]
    )
    assert api.status("GET", STATUS, confined) == 200


def test_disabling_and_enabling_a_user_takes_effect_within_five_seconds(
    api: AccountApi,
) -> None:
    team = api.create_team()
    user, token = api.create_member(team, Role.MEMBER)
    confined = api.create_user_token(user, team=team)
    requests = [(STATUS, token), (STATUS, confined), ("/v1/user", token), (team.slug, confined)]
    assert [api.status("GET", path, caller) for path, caller in requests] == [200] * 4
    api.users.disable(user)
    eventually(lambda: {api.status("GET", path, caller) for path, caller in requests} == {401}, 5)
    api.users.disable(user, disabled=False)
    eventually(lambda: {api.status("GET", path, caller) for path, caller in requests} == {200}, 5)


def test_removed_member_loses_access_and_their_team_tokens_stay_revoked(
    api: AccountApi,
) -> None:
    team = api.create_team()
    _, owner = api.create_owner(team)
    user, token = api.create_member(team, Role.OWNER)
    confined = api.create_user_token(user, team=team)
    assert api.status("GET", team.slug, confined) == 200
    api.ok("DELETE", f"{team.slug}/members/{user.id}", owner)
    assert api.status("GET", team.slug, token) == 403
    assert api.status("GET", team.slug, confined) == 401
    assert api.status("POST", OWN_TOKENS, token, json={"team": team.slug}) == 400
    api.members.add(team, user, Role.VIEWER, OPERATOR)
    api.users.get(user.email)
    eventually(lambda: api.status("GET", team.slug, token) == 200, 5)
    assert api.status("GET", team.slug, confined) == 401


@pytest.mark.parametrize(
    "body",
    [{"team": 5}, {"team": "x" * 201}, {"team": "x\0"}, {"team": "' OR 1=1 --"}, {"user": "usr_x"},
     {"scopes": ["root"]}, {"expiresIn": "never"}, []],
    ids=lambda body: repr(body)[:30],
)  # fmt: skip
def test_invalid_own_token_is_refused(api: AccountApi, body: object) -> None:
    user = api.create_user()
    token = api.create_user_token(user)
    assert api.status("POST", OWN_TOKENS, token, json=body) == 400
    assert len(api.tokens.list_for_user(user)) == 1
