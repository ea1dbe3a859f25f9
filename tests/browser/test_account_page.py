"""The account page: teams, creating and revoking tokens, changing the password."""

from __future__ import annotations

import uuid

import httpx
import pytest
from playwright.sync_api import Page

from hitrate.auth.models import Scope
from hitrate.roles import Role
from tests.support.browser import console_errors
from tests.support.browser_user import PASSWORD, browser_user, create_user, log_in, open_accounts
from tests.support.server import Server

NEW_PASSWORD = "a much better password"
INVALID_FORMS: list[tuple[dict[str, str], str]] = [
    ({"scopes": ""}, "Unknown permission"),
    ({"scopes": "root"}, "Unknown permission"),
    ({}, "Select at least one permission"),
    ({"scopes": "read", "team": "team_of_others"}, "not a member of this team"),
    ({"scopes": "read", "days": "0"}, "whole number"),
    ({"scopes": "read", "days": "-1"}, "whole number"),
    ({"scopes": "read", "days": "1.5"}, "whole number"),
    ({"scopes": "read", "days": "36501"}, "whole number"),
    ({"scopes": "read", "days": "9" * 5000}, "whole number"),
    ({"scopes": "read", "days": "٣"}, "whole number"),
    ({"scopes": "read", "label": "x" * 201}, "200 printable"),
    ({"scopes": "read", "label": "a\nb"}, "200 printable"),
]


@pytest.fixture
def ann(shared_server: Server) -> str:
    """The email address of a new user in two teams."""
    return create_user(
        shared_server, f"ann-{uuid.uuid4().hex}@example.com", "default", "web", role=Role.DEVELOPER
    ).email


def is_accepted(server: Server, token: str, team: str = "default") -> bool:
    response = httpx.get(
        f"{server.url}/v8/artifacts/status",
        params={"slug": team},
        headers={"authorization": f"Bearer {token}"},
    )
    return response.status_code == 200


def last_actions(server: Server, count: int) -> list[tuple[str, str]]:
    """Return actor and action of the newest audit entries."""
    with open_accounts(server) as accounts:
        return [(e.actor_name, e.action) for e in accounts.audit.page(None, count)]


def test_account_page_shows_the_user_and_their_teams(
    page: Page, shared_server: Server, ann: str
) -> None:
    log_in(page, shared_server, ann)
    text = page.inner_text("main")
    assert ann in text
    teams = page.get_by_role("region", name="Teams").get_by_role("listitem")
    assert [t.inner_text().split() for t in teams.all()] == [
        ["default", "default", "developer"],
        ["web", "web", "developer"],
    ]
    assert "You have no valid tokens" in page.get_by_role("region", name="Your tokens").inner_text()
    assert console_errors(page) == []


def test_token_is_shown_once_when_created_and_stops_working_when_revoked(
    page: Page, shared_server: Server, ann: str
) -> None:
    log_in(page, shared_server, ann)
    form = page.get_by_role("region", name="Create token")
    form.get_by_label("Label").fill("<b>CI</b> & more")
    form.get_by_label("Team", exact=True).select_option(label="web")
    form.get_by_label("Expires in (days)").fill("30")
    form.get_by_label("write").uncheck()
    form.get_by_role("button").click()
    secret = page.get_by_label("<b>CI</b> & more").input_value()
    assert is_accepted(shared_server, secret, "web")
    assert not is_accepted(shared_server, secret, "default")
    page.get_by_role("link", name="Back to your account").click()
    assert secret not in page.content()
    tokens = page.get_by_role("region", name="Your tokens")
    row = tokens.get_by_role("listitem").inner_text()
    for text in ("<b>CI</b> & more", "web", "analytics, events, read", "never"):
        assert text in row
    with open_accounts(shared_server) as accounts:
        [token] = accounts.tokens.list_for_user(accounts.users.get(ann))
    assert token.scopes == {Scope.READ, Scope.EVENTS, Scope.ANALYTICS}
    assert token.expires_at_ms == token.created_at_ms + 30 * 86400 * 1000
    tokens.get_by_role("button", name="Revoke <b>CI</b> & more").click()
    assert page.get_by_role("status").inner_text() == "Token revoked."
    assert "1 expired or revoked" in page.get_by_role("region", name="Your tokens").inner_text()
    # Immediately: the server itself revoked it and invalidated its cache.
    assert not is_accepted(shared_server, secret, "web")
    assert last_actions(shared_server, 2) == [(ann, "token.revoke"), (ann, "token.create")]
    assert console_errors(page) == []


def test_token_can_cover_all_teams_and_never_expire(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        form_token = user.form_token("/account")
        response = user.post(
            "/account/tokens", form_token, scopes="read", days="", team="", label=""
        )
        assert response.status_code == 200
    with open_accounts(shared_server) as accounts:
        [token] = accounts.tokens.list_for_user(accounts.users.get(ann))
    assert token.team is None
    assert token.expires_at_ms is None
    assert token.scopes == {Scope.READ}


def test_invalid_token_form_is_rejected_and_creates_no_token(
    shared_server: Server, ann: str
) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        form_token = user.form_token("/account")
        for form, message in INVALID_FORMS:
            response = user.post("/account/tokens", form_token, None, **form)
            assert response.status_code == 400, form
            assert message in response.text
    with open_accounts(shared_server) as accounts:
        assert accounts.tokens.list_for_user(accounts.users.get(ann)) == []


def test_user_cannot_revoke_the_token_of_another_user(shared_server: Server, ann: str) -> None:
    other = create_user(shared_server, f"bob-{uuid.uuid4().hex}@example.com", "default")
    with open_accounts(shared_server) as accounts:
        token, secret = accounts.tokens.create(None, "bob's", user=other)
    with browser_user(shared_server) as user:
        user.log_in(ann)
        response = user.post(f"/account/tokens/{token.id}/revoke", user.form_token("/account"))
        assert response.status_code == 404
        assert "You have no such token." in response.text
    assert is_accepted(shared_server, secret)


def test_password_change_ends_other_sessions_but_keeps_this_one_and_tokens(
    page: Page, shared_server: Server, ann: str
) -> None:
    with open_accounts(shared_server) as accounts:
        _, secret = accounts.tokens.create(None, "", user=accounts.users.get(ann))
    log_in(page, shared_server, ann)
    with browser_user(shared_server) as other_browser:
        other_browser.log_in(ann)
        form = page.get_by_role("region", name="Password")
        form.get_by_label("Current password").fill(PASSWORD)
        form.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
        form.get_by_label("Confirm new password").fill(NEW_PASSWORD)
        form.get_by_role("button").click()
        assert page.get_by_role("status").inner_text() == "Password changed."
        assert other_browser.get("/account").headers["location"].startswith("/login")
        assert other_browser.log_in(ann, PASSWORD).status_code == 403
        assert other_browser.log_in(ann, NEW_PASSWORD).status_code == 303
    page.reload()
    assert ann in page.inner_text("main")
    assert is_accepted(shared_server, secret)
    assert last_actions(shared_server, 1) == [(ann, "user.password")]


@pytest.mark.parametrize(
    ("old", "new", "again", "message"),
    [
        ("wrong", NEW_PASSWORD, NEW_PASSWORD, "The current password is wrong."),
        (PASSWORD, NEW_PASSWORD, NEW_PASSWORD + "!", "The new passwords do not match."),
        (PASSWORD, "short", "short", "10 to 1024 characters"),
        (PASSWORD, "x" * 1025, "x" * 1025, "10 to 1024 characters"),
    ],
)
def test_invalid_password_form_changes_nothing(
    shared_server: Server, ann: str, old: str, new: str, again: str, message: str
) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        form_token = user.form_token("/account")
        response = user.post("/account/password", form_token, old=old, new=new, again=again)
        assert response.status_code == 400
        assert message in response.text
        assert user.get("/account").status_code == 200
    with browser_user(shared_server) as user:
        assert user.log_in(ann).status_code == 303


def test_password_change_limits_guesses_of_the_current_password(
    shared_server: Server, ann: str
) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        form_token = user.form_token("/account")
        guesses = {"old": "a guess", "new": NEW_PASSWORD, "again": NEW_PASSWORD}
        responses = [user.post("/account/password", form_token, None, **guesses) for _ in range(5)]
        while responses[-1].status_code == 400 and len(responses) < 12:
            responses.append(user.post("/account/password", form_token, None, **guesses))
    assert [response.status_code for response in responses] == [400] * (len(responses) - 1) + [429]
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 60


def test_disabled_user_cannot_change_the_password(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        form_token = user.form_token("/account")
        with open_accounts(shared_server) as accounts:
            accounts.users.disable(accounts.users.get(ann))
        response = user.post(
            "/account/password", form_token, old="", new=NEW_PASSWORD, again=NEW_PASSWORD
        )
        assert response.headers["location"] == "/login"
