"""`/v1/user`: a person's own account, and what their tokens do in none, one and several teams."""

import pytest

from hitrate.auth.models import Scope
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support.account_api import AccountApi
from tests.support.account_fixture import ALL_SCOPES
from tests.support.server import eventually

STATUS = "/v8/artifacts/status"
OWN = "/v1/user/tokens"


def test_a_person_sees_who_they_are_and_in_which_teams(api: AccountApi) -> None:
    places = [(api.create_team(), role) for role in (Role.OWNER, Role.VIEWER)]
    user = api.create_user(*places)
    shown = api.ok("GET", "/v1/user", api.create_user_token(user))
    assert (shown["id"], shown["email"], shown["username"]) == (user.id, user.email, user.username)
    assert {(t["id"], t["slug"], t["role"]) for t in shown["teams"]} == {
        (team.id, team.slug, role.value) for team, role in places
    }
    assert api.ok("GET", "/v1/user", api.create_user_token(api.create_user()))["teams"] == []


def test_it_takes_a_persons_token_with_the_scope_admin(api: AccountApi) -> None:
    team = api.create_team()
    user, own = api.create_member(team, Role.OWNER)
    mine = api.create_token(None, user)[0]
    others = [api.create_team_token(team), api.operator, api.server.token]
    others += [api.create_user_token(user, scope) for scope in Scope if scope is not Scope.ADMIN]
    for token in others:
        for method, path in (
            ("GET", "/v1/user"), ("GET", OWN), ("POST", OWN),
            ("DELETE", f"{OWN}/{mine.id}"), ("POST", f"{OWN}/{mine.id}/rotate"),
        ):  # fmt: skip
            status, message = api.client_error(method, path, token, content=b"{}")
            assert status == 403
            assert "a person's own account" in message
    assert api.status("GET", "/v1/user", own) == 200
    assert api.tokens.get(mine.id) == mine


@pytest.mark.parametrize("role", Role)
def test_everybody_manages_their_own_tokens(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    user, token = api.create_member(team, role)
    made = api.ok("POST", OWN, token, json={"label": "mine", "scopes": ["read"], "team": team.slug})
    assert (made["user"], made["team"], made["scopes"]) == (user.email, team.slug, ["read"])
    new = api.ok("POST", f"{OWN}/{made['id']}/rotate", token, json={"overlap": "0s"})
    assert api.ok("DELETE", f"{OWN}/{new['id']}", token)["state"] == "revoked"
    states = {t["id"]: t["state"] for t in api.ok("GET", OWN, token)["tokens"]}
    assert (states[made["id"]], states[new["id"]]) == ("expired", "revoked")
    assert api.audit_actions(team)[-3:] == ["token.create", "token.rotate", "token.revoke"]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
def test_scopes_that_the_role_lacks_give_nothing(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    _, token = api.create_member(team, role)
    made = api.ok("POST", OWN, token, json={"scopes": [scope.value for scope in Scope]})["token"]
    for path in ("members", "tokens", "settings", "billing"):
        may = path == "billing" and role is Role.BILLING
        if path in ("settings", "billing"):
            status = api.status("PATCH", f"{team.slug}/{path}", made, json={})
            assert status == (200 if may else 403), path
        else:
            assert api.status("POST", f"{team.slug}/{path}", made, json={}) == 403, path
    assert api.status("GET", f"{team.slug}/audit", made) == 403
    may_write = role in (Role.MEMBER, Role.DEVELOPER)
    put = api.status("PUT", f"/v8/artifacts/x?slug={team.slug}", made, content=b"x")
    assert put == (202 if may_write else 403)
    assert api.status("GET", f"{STATUS}?slug={team.slug}", made) == (
        403 if role is Role.BILLING else 200
    )


def test_a_token_makes_and_rotates_none_that_has_more_scopes(api: AccountApi) -> None:
    user = api.create_user((api.create_team(), Role.OWNER))
    wide, _ = api.create_token(None, user, ALL_SCOPES)
    narrow = api.create_user_token(user, Scope.ADMIN, Scope.READ)
    for scopes in (["write"], ["admin", "read", "events"], [scope.value for scope in Scope]):
        status, message = api.client_error("POST", OWN, narrow, json={"scopes": scopes})
        assert (status, "lacks the scopes" in message) == (403, True)
    assert api.status("POST", OWN, narrow, json={}) == 403
    assert api.status("POST", f"{OWN}/{wide.id}/rotate", narrow, json={}) == 403
    assert api.ok("POST", OWN, narrow, json={"scopes": ["read"]})["scopes"] == ["read"]


def test_a_token_for_one_team_reaches_nothing_beyond_it(api: AccountApi) -> None:
    ours, theirs = api.create_team(), api.create_team()
    user = api.create_user((ours, Role.OWNER), (theirs, Role.OWNER))
    confined = api.create_user_token(user, team=ours)
    beyond = [
        api.create_token(None, user, ALL_SCOPES)[0],
        api.create_token(theirs, user, ALL_SCOPES)[0],
    ]
    made = api.ok("POST", OWN, confined, json={"scopes": ["admin"]})
    assert made["team"] == ours.slug
    for name in (theirs.slug, theirs.id, "", "nobodys", ours.slug.upper()):
        assert api.status("POST", OWN, confined, json={"team": name}) == 400, name
    for token in beyond:
        assert api.status("POST", f"{OWN}/{token.id}/rotate", confined, json={}) == 404
        assert api.status("DELETE", f"{OWN}/{token.id}", confined) == 404
    assert {t["team"] for t in api.ok("GET", OWN, confined)["tokens"]} == {ours.slug}
    assert [t["slug"] for t in api.ok("GET", "/v1/user", confined)["teams"]] == [ours.slug]
    for query in (
        f"slug={theirs.slug}",
        f"teamId={theirs.id}",
        f"slug={ours.slug}&slug={theirs.slug}",
    ):
        assert api.status("GET", f"{STATUS}?{query}", confined) == 403
    assert api.status("GET", f"{theirs.slug}/members", confined) == 403
    assert api.status("POST", f"{theirs.slug}/leave", confined) == 403


def test_tokens_of_others_are_out_of_reach(api: AccountApi) -> None:
    team = api.create_team()
    _, anns = api.create_owner(team)
    bob, _ = api.create_owner(team)
    others = [
        api.create_token(None, bob)[0],
        api.create_token(team, bob)[0],
        api.create_token(team)[0],
        api.create_token()[0],
    ]
    for token in others:
        assert api.status("POST", f"{OWN}/{token.id}/rotate", anns, json={}) == 404
        assert api.status("DELETE", f"{OWN}/{token.id}", anns) == 404
        assert api.tokens.get(token.id) == token


def test_in_no_team_a_token_does_nothing_but_look_after_itself(api: AccountApi) -> None:
    token = api.create_user_token(api.create_user())
    status, message = api.client_error("GET", STATUS, token)
    assert (status, "You are in no team" in message) == (403, True)
    for query in ("slug=default", "teamId=team_x", "slug="):
        assert api.status("GET", f"{STATUS}?{query}", token) == 403
    assert api.status("GET", "default", token) == 403
    assert api.status("POST", OWN, token, json={"team": "default"}) == 400
    assert api.status("POST", OWN, token, json={}) == 201


def test_in_one_team_a_token_need_not_name_it(api: AccountApi) -> None:
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


def test_in_several_teams_a_token_names_one(api: AccountApi) -> None:
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


def test_a_disabled_persons_tokens_stop_within_five_seconds_and_enabled_again_they_work(
    api: AccountApi,
) -> None:
    team = api.create_team()
    user, token = api.create_member(team, Role.MEMBER)
    confined = api.create_user_token(user, team=team)
    looks = [(STATUS, token), (STATUS, confined), ("/v1/user", token), (team.slug, confined)]
    assert [api.status("GET", path, who) for path, who in looks] == [200] * 4
    api.users.disable(user)
    eventually(lambda: {api.status("GET", path, who) for path, who in looks} == {401}, 5)
    api.users.disable(user, disabled=False)
    eventually(lambda: {api.status("GET", path, who) for path, who in looks} == {200}, 5)


def test_who_is_removed_loses_the_team_and_no_token_of_theirs_brings_it_back(
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
    assert api.status("POST", OWN, token, json={"team": team.slug}) == 400
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
def test_what_is_no_token_of_ones_own_is_refused(api: AccountApi, body: object) -> None:
    user = api.create_user()
    token = api.create_user_token(user)
    assert api.status("POST", OWN, token, json=body) == 400
    assert len(api.tokens.list_for_user(user)) == 1
