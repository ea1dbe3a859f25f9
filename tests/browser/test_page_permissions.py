"""Page permissions: which pages each role may view, and which settings it may change."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from urllib.parse import quote

import httpx
import pytest

from hitrate.http.cookies import SESSION_COOKIE
from hitrate.http.csrf import csrf_token
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support.dashboard_fixture import LIMITS_FORM, DashboardFixture, is_html_page, submit_form
from tests.support.html_page import HtmlPage, text_of

ANALYTICS = ("", "/runs", "/run?session=one", "/artifacts", "/artifact?hash=one", "/version")
PAGES = (*ANALYTICS, "/usage", "/connect", "/settings", "/settings/limits")
SETTINGS_PAGES = ("/settings", "/settings/limits")

VIEWABLE_PAGES: dict[Role, set[str]] = {
    Role.OWNER: set(PAGES),
    Role.MEMBER: set(PAGES) - set(SETTINGS_PAGES),
    Role.DEVELOPER: set(PAGES) - set(SETTINGS_PAGES) - {"/usage"},
    Role.VIEWER: set(PAGES) - set(SETTINGS_PAGES),
    Role.BILLING: {"/usage", "/connect"},
}


def test_pages_redirect_to_login_without_a_session(unchanged_dashboard: DashboardFixture) -> None:
    with httpx.Client(base_url=unchanged_dashboard.server.url, verify=False) as anonymous:
        for page in PAGES:
            response = anonymous.get(
                unchanged_dashboard.path(page), headers={"accept": "text/html"}
            )
            assert response.status_code == 303
            next_page = quote(unchanged_dashboard.path(page), safe="/").replace("/", "%2F")
            assert response.headers["location"] == f"/login?next={next_page}"
        before = unchanged_dashboard.state()
        for name, fields in unchanged_dashboard.forms().items():
            response = anonymous.post(
                unchanged_dashboard.path(f"/settings/{name}"),
                data=fields,
                headers={"accept": "text/html"},
            )
            assert (response.status_code, response.headers["location"]) == (303, "/login")
        assert anonymous.get(unchanged_dashboard.path("/version")).status_code == 401
        assert unchanged_dashboard.state() == before


@pytest.mark.parametrize("role", Role)
def test_role_views_only_its_pages_and_their_tabs(
    unchanged_dashboard: DashboardFixture, role: Role
) -> None:
    with unchanged_dashboard.browse_as(role) as http:
        responses = {page: http.get(unchanged_dashboard.path(page)) for page in PAGES}
    viewed = {page for page, response in responses.items() if response.status_code in (200, 303)}
    assert viewed == VIEWABLE_PAGES[role]
    for page in set(PAGES) - viewed:
        assert responses[page].status_code == 403
        assert is_html_page(responses[page])
        assert f"Your role in this team ({role.value})" in responses[page].text
    tabs = [
        link.get("href", "")
        for link in HtmlPage(responses["/connect"].text).find_all(".//main//nav/a")
    ]
    pages = {"", "/runs", "/artifacts", "/usage", "/connect", "/settings"}
    assert set(tabs) == {unchanged_dashboard.path(page) for page in VIEWABLE_PAGES[role] & pages}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER], ids=str)
def test_roles_other_than_owner_change_nothing(
    unchanged_dashboard: DashboardFixture, role: Role
) -> None:
    before = unchanged_dashboard.state()
    with unchanged_dashboard.browse_as(role) as http:
        for name, fields in unchanged_dashboard.forms().items():
            response = submit_form(http, unchanged_dashboard.path(f"/settings/{name}"), fields)
            assert response.status_code == 403, name
            assert is_html_page(response)
    assert unchanged_dashboard.state() == before


def test_owner_submits_every_form(dashboard: DashboardFixture) -> None:
    with dashboard.browse_as(Role.OWNER) as http:
        for name, fields in dashboard.forms().items():
            before = dashboard.state()
            response = submit_form(http, dashboard.path(f"/settings/{name}"), fields)
            assert response.status_code == (200 if name == "tokens" else 303), name
            assert dashboard.state() != before, name
    [newest, *_] = dashboard.server.accounts.audit.page(dashboard.team.id, 1)
    assert newest.actor_name == dashboard.users[Role.OWNER].email


def test_pages_of_another_team_equal_those_of_an_unknown_team(
    unchanged_dashboard: DashboardFixture,
) -> None:
    before = unchanged_dashboard.state()
    with unchanged_dashboard.server.browse_as(unchanged_dashboard.outsider) as http:
        unknown_team = http.get("/teams/unknown-team")
        for page in PAGES:
            response = http.get(unchanged_dashboard.path(page))
            assert (response.status_code, response.text) == (404, unknown_team.text)
        for name, fields in unchanged_dashboard.forms().items():
            response = submit_form(http, unchanged_dashboard.path(f"/settings/{name}"), fields)
            assert (response.status_code, response.text) == (404, unknown_team.text)
        assert http.get("/").headers["location"].startswith("/teams/other-")
    assert is_html_page(unknown_team)
    assert unchanged_dashboard.state() == before


def test_home_redirects_to_the_first_page_that_the_role_may_view(
    unchanged_dashboard: DashboardFixture,
) -> None:
    for role, page in ((Role.BILLING, "/usage"), (Role.VIEWER, ""), (Role.OWNER, "")):
        with unchanged_dashboard.browse_as(role) as http:
            assert http.get("/").headers["location"] == unchanged_dashboard.path(page)
    with unchanged_dashboard.server.browse_as(
        unchanged_dashboard.server.create_user(f"{uuid.uuid4().hex}@example.com")
    ) as http:
        assert http.get("/").headers["location"] == "/account"


def test_demoted_removed_and_disabled_users_lose_access_immediately(
    dashboard: DashboardFixture,
) -> None:
    members, owner = dashboard.server.accounts.members, dashboard.users[Role.OWNER]
    second = dashboard.server.create_user(f"{uuid.uuid4().hex}@example.com", dashboard.team)
    with dashboard.server.browse_as(second) as http:
        assert http.get(dashboard.path("/settings")).status_code == 200
        members.change(dashboard.team, second.id, OPERATOR, role=Role.DEVELOPER)
        assert http.get(dashboard.path("/settings")).status_code == 403
        assert (
            submit_form(http, dashboard.path("/settings/team"), {"name": "Mine"}).status_code == 403
        )
        assert http.get(dashboard.path("/runs")).status_code == 200
        members.remove(dashboard.team, second.id, OPERATOR)
        assert http.get(dashboard.path("/runs")).status_code == 404
        assert http.get(dashboard.path("/version")).status_code == 404
    with dashboard.server.browse_as(owner) as http:
        assert http.get(dashboard.path("/runs")).status_code == 200
        dashboard.server.accounts.users.disable(owner)
        assert http.get(dashboard.path("/runs")).status_code == 303
        assert http.get(dashboard.path("/version"), headers={"accept": "*/*"}).status_code == 401


def test_form_without_a_valid_csrf_token_or_origin_changes_nothing(
    unchanged_dashboard: DashboardFixture,
) -> None:
    before = unchanged_dashboard.state()
    forms = unchanged_dashboard.forms()
    with ExitStack() as stack:
        http = stack.enter_context(unchanged_dashboard.browse_as(Role.OWNER))
        other = stack.enter_context(unchanged_dashboard.browse_as(Role.OWNER))
        own_token, other_token = (
            csrf_token(str(client.cookies[SESSION_COOKIE])) for client in (http, other)
        )
        attempts: list[tuple[dict[str, str], dict[str, str]]] = [
            ({}, {}),
            ({"form_token": ""}, {}),
            ({"form_token": other_token}, {}),
            ({"form_token": own_token[:-1]}, {}),
            ({"form_token": own_token}, {"origin": "https://evil.example"}),
            ({"form_token": own_token}, {"sec-fetch-site": "cross-site"}),
            ({"form_token": own_token}, {"sec-fetch-site": "same-site"}),
        ]
        for name, fields in forms.items():
            for token_field, headers in attempts:
                path = unchanged_dashboard.path(f"/settings/{name}")
                response = http.post(path, data={**fields, **token_field}, headers=headers)
                assert response.status_code == 403, (name, token_field, headers)
                assert is_html_page(response)
    assert unchanged_dashboard.state() == before


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("team", {"name": ""}, "1 to 100 printable characters"),
        ("team", {"name": "x" * 101}, "1 to 100 printable characters"),
        ("team", {"name": "x", "requests_per_minute": "-1"}, "not a whole number"),
        ("team", {"name": "x", "requests_per_minute": "9" * 19}, "not a whole number"),
        ("limits", {**LIMITS_FORM, "requests": "many"}, "Requests: 'many' is not a whole number"),
        ("limits", {**LIMITS_FORM, "stored_bytes": "9" * 300 + " TB"}, "Stored: "),
        ("limits", {**LIMITS_FORM, "stored_bytes": "9999999 TB"}, "too large"),
        ("limits", {**LIMITS_FORM, "price_stored_gb": "cheap"}, "Price per GB stored for a cycle"),
        ("limits", {**LIMITS_FORM, "spend_cap": "-1"}, "Spend cap"),
        ("limits", {**LIMITS_FORM, "spend_cap": "NaN"}, "Spend cap"),
        ("limits", {**LIMITS_FORM, "currency": "euro"}, "Currency"),
        ("limits", {**LIMITS_FORM, "cycle_day": ""}, "Cycle start day"),
        ("limits", {**LIMITS_FORM, "cycle_day": "32"}, "Cycle start day"),
        ("limits", {}, "Cycle start day"),
        ("add-member", {"email": "nobody@example.com", "role": "OWNER"}, "There is no user"),
        ("add-member", {"email": "", "role": "OWNER"}, "is not an email address"),
        ("add-member", {"email": "MEMBER", "role": "OWNER"}, "is in the team"),
        ("add-member", {"email": "MEMBER", "role": "KING"}, "Choose a role."),
        ("change-member", {"user": "usr_nobody", "role": "OWNER"}, "Nobody with the id"),
        ("change-member", {"user": "OWNER", "role": "VIEWER"}, "the team's last owner"),
        ("remove-member", {"user": "OWNER"}, "the team's last owner"),
        ("remove-member", {}, "Nobody with the id"),
        ("revoke-token", {"token": "tok_of_others"}, "This team has no such token."),
        ("tokens", {"label": "x"}, "Select at least one permission"),
        ("tokens", {"label": "x", "scopes": "admin"}, "Select at least one permission"),
        ("tokens", {"label": "x" * 201, "scopes": "read"}, "200 printable"),
        ("tokens", {"label": "x", "scopes": "read", "days": "0"}, "whole number from 1"),
    ],
)
def test_invalid_form_changes_nothing_and_explains_the_problem(
    unchanged_dashboard: DashboardFixture, name: str, fields: dict[str, str], message: str
) -> None:
    users = unchanged_dashboard.users
    if fields.get("email") == "MEMBER":
        fields = {**fields, "email": users[Role.MEMBER].email}
    if fields.get("user") == "OWNER":
        fields = {**fields, "user": users[Role.OWNER].id}
    before = unchanged_dashboard.state()
    with unchanged_dashboard.browse_as(Role.OWNER) as http:
        response = submit_form(http, unchanged_dashboard.path(f"/settings/{name}"), fields)
    assert response.status_code == 400
    [problem] = HtmlPage(response.text).find_all(".//p[@role='alert']")
    assert message in text_of(problem)
    assert "$" not in text_of(problem)
    assert unchanged_dashboard.state() == before


def test_malformed_form_bodies_are_rejected_with_a_page(
    unchanged_dashboard: DashboardFixture,
) -> None:
    before = unchanged_dashboard.state()
    with unchanged_dashboard.browse_as(Role.OWNER) as http:
        path = unchanged_dashboard.path("/settings/team")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        for content, status in (
            (b"", 403),
            (b"\xff\xfe", 400),
            (b"a=1&" * 100, 400),
            (b"x" * 100_000, 413),
            (b"{}", 403),
        ):
            response = http.post(path, content=content, headers=headers)
            assert response.status_code == status, content[:20]
            assert is_html_page(response)
        assert (
            submit_form(http, unchanged_dashboard.path("/settings/nothing"), {}).status_code == 404
        )
    assert unchanged_dashboard.state() == before
