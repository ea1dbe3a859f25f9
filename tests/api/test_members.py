"""`/v1/teams/{team}/members`: permissions, concurrent changes and invalid input."""

import threading
from functools import partial

import pytest

from hitrate.auth.models import Scope
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support.account_api import AccountApi
from tests.support.account_fixture import run_concurrently
from tests.support.server import eventually

OTHER_ROLES = sorted(set(Role) - {Role.OWNER})


def test_owner_adds_changes_and_removes_members(api: AccountApi) -> None:
    team, user = api.create_team(), api.create_user()
    owner, token = api.create_owner(team)
    path = f"{team.slug}/members"
    added = api.ok("POST", path, token, json={"email": user.email.upper(), "role": "VIEWER"})
    assert (added["userId"], added["role"], added["remoteCaching"]) == (user.id, "VIEWER", True)
    changed = api.ok(
        "PATCH", f"{path}/{user.id}", token, json={"role": "MEMBER", "remoteCaching": False}
    )
    assert (changed["role"], changed["remoteCaching"]) == ("MEMBER", False)
    assert {m["email"] for m in api.ok("GET", path, token)["members"]} == {owner.email, user.email}
    remaining = api.ok("DELETE", f"{path}/{user.id}", token)["members"]
    assert [m["email"] for m in remaining] == [owner.email]
    assert api.audit_actions(team)[-3:] == ["member.add", "member.change", "member.remove"]
    entry = api.audit.page(team.id, 1)[0]
    assert (entry.actor_kind, entry.actor_name, entry.target) == ("user", owner.email, user.email)


def test_default_role_of_a_new_member_is_developer(api: AccountApi) -> None:
    team, user = api.create_team(), api.create_user()
    _, token = api.create_owner(team)
    assert api.ok("POST", f"{team.id}/members", token, json={"email": user.email})["role"] == (
        "DEVELOPER"
    )


@pytest.mark.parametrize("role", OTHER_ROLES)
def test_other_roles_cannot_change_members(api: AccountApi, role: Role) -> None:
    team, outsider = api.create_team(), api.create_user()
    owner, _ = api.create_owner(team)
    user, token = api.create_member(team, role)
    path = f"{team.slug}/members"
    for method, where, body in (
        ("POST", path, {"email": outsider.email}),
        ("POST", path, {"email": user.email, "role": "OWNER"}),
        ("PATCH", f"{path}/{user.id}", {"role": "OWNER"}),
        ("PATCH", f"{path}/{owner.id}", {"role": "VIEWER"}),
        ("PATCH", f"{path}/{user.id}", {"remoteCaching": True}),
        ("DELETE", f"{path}/{owner.id}", None),
        ("DELETE", f"{path}/{user.id}", None),
    ):
        status, message = api.client_error(method, where, token, json=body)
        assert status == 403
        assert f"the role {role} in the team" in message
    assert api.roles(team) == sorted([Role.OWNER, role])
    assert api.ok("GET", path, token)["members"]


@pytest.mark.parametrize("scope", sorted(set(Scope) - {Scope.ADMIN}))
def test_token_without_admin_scope_cannot_change_members(api: AccountApi, scope: Scope) -> None:
    team = api.create_team()
    owner, _ = api.create_owner(team)
    other_owner, _ = api.create_owner(team)
    for token in (api.create_user_token(owner, scope), api.create_team_token(team, scope)):
        path = f"{team.slug}/members/{other_owner.id}"
        assert api.status("PATCH", path, token, json={"role": "VIEWER"}) == 403
        assert api.status("DELETE", path, token) == 403
        assert api.status("POST", f"{team.slug}/leave", token) == 403
    assert api.roles(team) == [Role.OWNER, Role.OWNER]


def test_owner_cannot_change_members_of_another_team(api: AccountApi) -> None:
    own_team, other_team = api.create_team(), api.create_team()
    _, token = api.create_owner(own_team)
    outsider, _ = api.create_owner(other_team)
    for team in (own_team.slug, own_team.id):
        path = f"{team}/members/{outsider.id}"
        assert api.status("PATCH", path, token, json={"role": "VIEWER"}) == 404
        assert api.status("DELETE", path, token) == 404
    for path in (
        f"{other_team.slug}/members",
        f"{other_team.id}/members",
        f"{other_team.slug}/members?slug={own_team.slug}",
        f"{own_team.slug}/members?slug={other_team.slug}",
        f"{own_team.slug}/members?teamId={other_team.id}",
        f"{own_team.slug}/members?slug={own_team.slug}&slug={other_team.slug}",
        f"{own_team.slug.upper()}/members",
        f"{own_team.slug}%00/members",
        f"{own_team.slug};slug={other_team.slug}/members",
        f"{own_team.slug.replace('t', chr(0x1D42D), 1)}/members",
    ):
        assert api.status("GET", path, token) == 403, path
    for path in (
        f"{own_team.slug}%2F..%2F{other_team.slug}/members",
        f"{own_team.slug}/members%2F{outsider.id}",
    ):
        assert api.status("GET", path, token) in (404, 405), path
    assert api.roles(other_team) == [Role.OWNER]


def test_last_owner_cannot_leave_or_be_demoted(api: AccountApi) -> None:
    team = api.create_team()
    owner, token = api.create_owner(team)
    own_path = f"{team.slug}/members/{owner.id}"
    for method, path, body in (
        ("POST", f"{team.slug}/leave", None),
        ("PATCH", own_path, {"role": "MEMBER"}),
        ("DELETE", own_path, None),
    ):
        for caller in (token, api.operator, api.create_team_token(team)):
            if not (path.endswith("leave") and caller != token):
                status, message = api.client_error(method, path, caller, json=body)
                assert status == 400
                assert "last owner" in message
    assert api.roles(team) == [Role.OWNER]


@pytest.mark.parametrize("role", OTHER_ROLES)
def test_member_of_any_role_may_leave_with_admin_scope(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    user, token = api.create_member(team, role)
    assert api.ok("POST", f"{team.slug}/leave", token) == {"left": team.slug}
    assert api.status("GET", team.slug, token) == 403
    assert user.id not in api.members_by_id(team)
    assert api.audit_actions(team)[-1] == "member.remove"


def test_leaving_requires_the_token_of_a_user(api: AccountApi) -> None:
    team = api.create_team()
    for token in (api.create_team_token(team), api.operator):
        status, message = api.client_error("POST", f"{team.slug}/leave", token)
        assert (status, message.split(".")[0]) == (403, "Only a user can leave a team")


@pytest.mark.parametrize("attempt", range(3))
def test_concurrent_mutual_demotion_leaves_one_owner(api: AccountApi, attempt: int) -> None:
    team = api.create_team()
    (ann, ann_token), (bob, bob_token) = api.create_owner(team), api.create_owner(team)
    path, body = f"{team.slug}/members/", {"role": "VIEWER"}
    run_concurrently(
        partial(api.call, "PATCH", path + bob.id, ann_token, json=body),
        partial(api.call, "PATCH", path + ann.id, bob_token, json=body),
    )
    assert api.roles(team) == [Role.OWNER, Role.VIEWER], attempt


def test_removed_owner_cannot_add_further_members(api: AccountApi) -> None:
    team = api.create_team()
    _, ann_token = api.create_owner(team)
    bob, bob_token = api.create_owner(team)
    stop, statuses = threading.Event(), []

    def add_members() -> None:
        while not stop.is_set():
            body = {"email": api.create_user().email, "role": "OWNER"}
            statuses.append(api.status("POST", f"{team.slug}/members", bob_token, json=body))

    thread = threading.Thread(target=add_members)
    thread.start()
    try:
        eventually(lambda: statuses.count(201) >= 2)
        api.ok("DELETE", f"{team.slug}/members/{bob.id}", ann_token)
        eventually(lambda: statuses[-1] == 403)
    finally:
        stop.set()
        thread.join()
    first = statuses.index(403)
    assert set(statuses[:first]) == {201}
    assert set(statuses[first:]) == {403}


def test_demotion_outside_the_server_takes_effect_within_five_seconds(api: AccountApi) -> None:
    team = api.create_team()
    api.create_owner(team)
    user, token = api.create_owner(team)
    assert api.status("GET", f"{team.slug}/audit", token) == 200
    api.members.change(team, user.id, OPERATOR, role=Role.MEMBER)
    eventually(lambda: api.status("GET", f"{team.slug}/audit", token) == 403, 5)


@pytest.mark.parametrize(
    "body",
    [{}, {"email": ""}, {"email": "ann"}, {"email": "a@b@c"}, {"email": "a\0@x"}, {"email": None},
     {"email": ["a@x"]}, {"email": "a" * 300 + "@x"}, {"email": "' OR 1=1 --@x"},
     {"email": "x@x", "role": "ROOT"}, {"email": "x@x", "role": "owner"}, {"email": "x@x", "a": 1},
     [], None, "x", 7],
    ids=repr,
)  # fmt: skip
def test_invalid_new_member_is_refused(api: AccountApi, body: object) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    assert api.status("POST", f"{team.slug}/members", token, json=body) == 400
    assert api.roles(team) == [Role.OWNER]


def test_unknown_or_existing_member_is_named_in_the_error(api: AccountApi) -> None:
    team = api.create_team()
    owner, token = api.create_owner(team)
    path = f"{team.slug}/members"
    status, message = api.client_error("POST", path, token, json={"email": "nobody@example.com"})
    assert status == 404
    assert "nobody@example.com" in message
    status, message = api.client_error("POST", path, token, json={"email": owner.email})
    assert (status, message) == (400, f"{owner.email} is in the team {team.slug} already.")


@pytest.mark.parametrize(
    "user_id",
    ["%00", "%FF", "%ED%A0%80", "%F0%9F%98%80", "' OR 1=1 --", "x" * 3000, "%2e%2e", "usr_%0a"],
)
def test_unknown_user_id_is_not_found(api: AccountApi, user_id: str) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    path = f"{team.slug}/members/{user_id}"
    for method, body in (("PATCH", {"role": "VIEWER"}), ("DELETE", None)):
        status, message = api.client_error(method, path, token, json=body)
        assert status == 404
        assert len(message) < 4000
    assert api.roles(team) == [Role.OWNER]


def test_disabled_member_is_listed_as_disabled(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    user, _ = api.create_member(team, Role.MEMBER)
    api.users.disable(user)
    members = api.ok("GET", f"{team.slug}/members", token)["members"]
    assert {m["userId"]: m["disabled"] for m in members}[user.id] is True
