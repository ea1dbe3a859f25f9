"""Team settings and billing over HTTP: permissions, validation and concurrent changes."""

from functools import partial
from typing import Any

import pytest

from hitrate.auth.models import Scope
from hitrate.roles import Role
from tests.support.account_api import AccountApi
from tests.support.account_fixture import run_concurrently

SCOPES_WITHOUT_ADMIN = sorted(set(Scope) - {Scope.ADMIN})


def test_owner_reads_and_changes_settings(api: AccountApi) -> None:
    team = api.create_team()
    owner, token = api.create_owner(team)
    path = f"{team.slug}/settings"
    assert api.ok("GET", path, token) == {
        "name": team.slug, "remoteCaching": True, "requestsPerMinute": None, "state": "active",
        "status": "enabled",
    }  # fmt: skip
    body = {"name": "Ours 😀", "remoteCaching": False, "requestsPerMinute": 5}
    changed = api.ok("PATCH", path, token, json=body)
    assert changed == {**body, "state": "disabled", "status": "disabled"}
    assert api.ok("PATCH", path, token, json={}) == changed
    assert api.ok("GET", team.id, token)["name"] == "Ours 😀"
    assert api.audit_actions(team)[-2:] == ["team.rename", "settings.change"]
    entry = api.audit.page(team.id, 1)[0]
    assert entry.actor_name == owner.email
    assert entry.details["after"] == {"remoteCaching": False, "requestsPerMinute": 5}
    api.ok("PATCH", path, token, json={"requestsPerMinute": None, "remoteCaching": True})
    assert api.ok("GET", team.slug, token)["state"] == "active"


@pytest.mark.parametrize("role", Role)
def test_role_decides_which_settings_can_be_read_and_changed(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    _, token = api.create_member(team, role)
    settings, billing = f"{team.slug}/settings", f"{team.slug}/billing"
    can_change_settings, can_change_billing = role is Role.OWNER, role in (Role.OWNER, Role.BILLING)
    assert api.status("GET", settings, token) == 200
    body: dict[str, Any] = {"remoteCaching": False}
    assert api.status("PATCH", settings, token, json=body) == (200 if can_change_settings else 403)
    assert api.status("PATCH", billing, token, json={"spendCap": "5"}) == (
        200 if can_change_billing else 403
    )
    can_read = can_change_billing or role in (Role.MEMBER, Role.VIEWER)
    for path in (billing, f"{team.slug}/usage"):
        assert api.status("GET", path, token) == (200 if can_read else 403)
    assert api.ok("GET", team.slug, api.operator)["state"] == (
        "disabled" if can_change_settings else "active"
    )


@pytest.mark.parametrize("scope", SCOPES_WITHOUT_ADMIN)
def test_token_without_admin_scope_cannot_change_settings(api: AccountApi, scope: Scope) -> None:
    team = api.create_team()
    owner, _ = api.create_owner(team)
    for token in (api.create_team_token(team, scope), api.create_user_token(owner, scope)):
        assert api.status("PATCH", f"{team.slug}/settings", token, json={}) == 403
        assert api.status("PATCH", f"{team.slug}/billing", token, json={}) == 403
    assert api.audit_actions(team)[-1] != "settings.change"


def test_only_the_operator_changes_blocks_and_missing_payments(api: AccountApi) -> None:
    team = api.create_team()
    path = f"{team.slug}/billing"
    team_tokens = [api.create_member(team, role)[1] for role in (Role.OWNER, Role.BILLING)]
    team_tokens.append(api.create_team_token(team))
    for field, state in (("softBlocked", "soft_blocked"), ("paymentMissing", "payment_missing")):
        assert api.ok("PATCH", path, api.operator, json={field: True})["state"] == state
        for token in team_tokens:
            for value in (False, True):
                status, message = api.client_error("PATCH", path, token, json={field: value})
                assert (status, "operator of the server" in message) == (403, True)
            api.client_error("PATCH", path, token, json={field: False, "spendCap": None})
            body = '{"spendCap": 1, "FIELD": false, "spendCap": 2}'.replace("FIELD", field)
            assert api.status("PATCH", path, token, content=body) == 403
            for body_value in (0, "false", "0"):
                assert api.status("PATCH", path, token, json={field: body_value}) in (400, 403)
            assert api.status("PATCH", path, token, json={field: None}) == 400
            assert api.status("PATCH", path, token, json={field.lower(): False}) == 400
            settings = f"{team.slug}/settings"
            assert api.status("PATCH", settings, token, json={field: False}) in (400, 403)
        assert api.ok("GET", path, team_tokens[0])["state"] == state
        assert api.ok("PATCH", path, api.operator, json={field: False})["state"] == "active"
    assert api.ok("GET", path, team_tokens[0])["spendCap"] is None


def test_concurrent_changes_are_all_applied(api: AccountApi) -> None:
    team = api.create_team()
    tokens = [api.create_owner(team)[1] for _ in range(4)]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("settings", {"remoteCaching": False}),
        ("settings", {"requestsPerMinute": 7}),
        ("billing", {"currency": "EUR"}),
        ("billing", {"limits": {"requests": 9}}),
    ]
    run_concurrently(
        *(
            partial(api.call, "PATCH", f"{team.slug}/{where}", token, json=body)
            for token, (where, body) in zip(tokens, changes, strict=True)
        )
    )
    settings = api.ok("GET", f"{team.slug}/settings", tokens[0])
    billing = api.ok("GET", f"{team.slug}/billing", tokens[0])
    assert (settings["remoteCaching"], settings["requestsPerMinute"]) == (False, 7)
    assert (billing["currency"], billing["limits"]["requests"]) == ("EUR", 9)


def test_settings_of_another_team_cannot_be_read_or_changed(api: AccountApi) -> None:
    own_team, other_team = api.create_team(), api.create_team()
    _, token = api.create_owner(own_team)
    for caller in (token, api.create_team_token(own_team)):
        for path in (
            f"{other_team.slug}/settings",
            f"{other_team.id}/billing",
            f"{other_team.id}/settings?teamId={own_team.id}",
            f"{own_team.id}/settings?teamId={other_team.id}",
            f"{own_team.slug}/billing?slug=%00",
            "nobodys/settings",
            "team_x/billing",
            f"{other_team.id.lower()}/settings",
        ):
            assert api.status("PATCH", path, caller, json={}) == 403, path
            assert api.status("GET", path, caller) == 403, path


def test_operator_reaches_every_team_by_id_and_slug(api: AccountApi) -> None:
    team = api.create_team("team_with-a-slug-like-an-id")
    for name in (team.slug, team.id, f"{team.slug}?teamId={team.id}"):
        assert api.ok("GET", name, api.operator)["id"] == team.id
    for name in ("nobodys", "team_x", f"{team.slug}?slug=default", "%00", "'%20OR%201=1"):
        assert api.status("GET", name, api.operator) == 403


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": " "}, {"name": "x" * 101}, {"name": "a\nb"}, {"name": "a\0"},
     {"name": None}, {"name": 5}, {"requestsPerMinute": -1}, {"requestsPerMinute": 2**62 + 1},
     {"requestsPerMinute": 10**30}, {"requestsPerMinute": 1.5}, {"requestsPerMinute": "many"},
     {"requestsPerMinute": []}, {"remoteCaching": None}, {"remoteCaching": "on"},
     {"remoteCaching": 2}, {"remote_caching": False}, {"slug": "x"}, {"id": "x"},
     {"pausedAtMs": None}, [], "x"],
    ids=lambda body: repr(body)[:40],
)  # fmt: skip
def test_invalid_settings_are_rejected_and_change_nothing(api: AccountApi, body: object) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    before = api.ok("GET", f"{team.slug}/settings", token)
    status, message = api.client_error("PATCH", f"{team.slug}/settings", token, json=body)
    assert status == 400
    assert len(message) < 300
    assert api.ok("GET", f"{team.slug}/settings", token) == before


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"cycleDay": 0}, "$.cycleDay is 0"),
        ({"cycleDay": 32}, "$.cycleDay is 32"),
        ({"cycleDay": 10**30}, "1 to 31"),
        ({"cycleDay": 1.5}, "cycleDay"),
        ({"currency": "eur"}, "$.currency is 'eur'"),
        ({"currency": "EURO"}, "three capital letters"),
        ({"currency": "E\0R"}, "three capital letters"),
        ({"currency": None}, "currency"),
        ({"spendCap": -1}, "$.spendCap is -1"),
        ({"spendCap": "ten"}, "$.spendCap is 'ten'"),
        ({"spendCap": "NaN"}, "an amount"),
        ({"spendCap": "Infinity"}, "an amount"),
        ({"spendCap": "1e999999999"}, "from 0 to"),
        ({"spendCap": "1e-999999999"}, "six decimals"),
        ({"spendCap": "9" * 100_000}, "from 0 to"),
        ({"spendCap": "0." + "1" * 100_000}, "six decimals"),
        ({"spendCap": "1.0000000000000000000000000000000001"}, "six decimals"),
        ({"spendCap": 1e300}, "from 0 to"),
        ({"spendCap": True}, "spendCap"),
        ({"spendCap": []}, "spendCap"),
        ({"limits": {"requests": -1}}, "limits.requests"),
        ({"limits": {"requests": 2**63}}, "limits.requests"),
        ({"limits": {"requests": "many"}}, "limits.requests"),
        ({"limits": {"seats": 1}}, "seats"),
        ({"limits": None}, "limits"),
        ({"prices": {"uploadedGb": "1e13"}}, "$.prices.uploadedGb"),
        ({"prices": {"storedGb": "-0.5"}}, "$.prices.storedGb"),
        ({"prices": {"storedGb": None}}, "prices.storedGb"),
        ({"pausedSince": None}, "pausedSince"),
        ({"state": "active"}, "state"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_billing_is_rejected_with_the_field_name(
    api: AccountApi, body: object, text: str
) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    status, message = api.client_error("PATCH", f"{team.slug}/billing", token, json=body)
    assert status == 400
    assert text in message
    assert len(message) < 300
    assert api.audit_actions(team) == ["team.create", "member.add"]


def test_unknown_methods_and_paths_are_rejected_with_the_error_schema(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    for method in ("PUT", "DELETE", "POST", "TRACE", "HEAD", "BREW"):
        assert api.status(method, team.slug, token) == 405
    for path in ("", f"{team.slug}/nothing", f"{team.slug}/settings/x", "/v1/users", "/v1/user/x"):
        assert api.status("GET", path, token) in (404, 405), path


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Basic abc", b"Bearer \xff\xfe", b"Bearer " + b"x" * 20_000, b"hr_x",
     b"Bearer hr_" + b"0" * 38, b"Bearer ' OR 1=1 --"],
    ids=lambda value: f"{value[:20]!r}",
)  # fmt: skip
def test_requests_without_a_valid_token_receive_401(api: AccountApi, authorization: bytes) -> None:
    for path in ("default", "default/settings", "nobodys", "/v1/user", "default/audit/export"):
        response = api.call("GET", path, "", headers={"authorization": authorization})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
