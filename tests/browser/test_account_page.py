"""The account page: what a person sees of themselves, and what they change there."""

from __future__ import annotations

import uuid

import httpx
import pytest
from playwright.sync_api import Page

from hitrate.auth.models import Scope
from hitrate.roles import Role
from tests.support.browser import errors_of
from tests.support.browser_user import PASSWORD, accounts_of, add_person, sign_in, visitor
from tests.support.server import Server

NEW = "a much better password"
IMPOSSIBLE: list[tuple[dict[str, str], str]] = [
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
    """The address of somebody new, who is in two teams."""
    return add_person(
        shared_server, f"ann-{uuid.uuid4().hex}@example.com", "default", "web", role=Role.DEVELOPER
    ).email


def works(server: Server, token: str, team: str = "default") -> bool:
    answer = httpx.get(
        f"{server.url}/v8/artifacts/status",
        params={"slug": team},
        headers={"authorization": f"Bearer {token}"},
    )
    return answer.status_code == 200


def last_actions(server: Server, count: int) -> list[tuple[str, str]]:
    """The newest entries of the audit log: who did what."""
    with accounts_of(server) as accounts:
        return [(e.actor_name, e.action) for e in accounts.audit.page(None, count)]


def test_it_shows_who_one_is_and_in_which_teams(
    page: Page, shared_server: Server, ann: str
) -> None:
    sign_in(page, shared_server, ann)
    text = page.inner_text("main")
    assert ann in text
    teams = page.get_by_role("region", name="Teams").get_by_role("listitem")
    assert [t.inner_text().split() for t in teams.all()] == [
        ["default", "default", "developer"],
        ["web", "web", "developer"],
    ]
    assert "You have no valid tokens" in page.get_by_role("region", name="Your tokens").inner_text()
    assert errors_of(page) == []


def test_a_token_is_made_shown_once_and_revoked(
    page: Page, shared_server: Server, ann: str
) -> None:
    sign_in(page, shared_server, ann)
    form = page.get_by_role("region", name="Create token")
    form.get_by_label("Label").fill("<b>CI</b> & more")
    form.get_by_label("Team", exact=True).select_option(label="web")
    form.get_by_label("Expires in (days)").fill("30")
    form.get_by_label("write").uncheck()
    form.get_by_role("button").click()
    secret = page.get_by_label("<b>CI</b> & more").input_value()
    assert works(shared_server, secret, "web")
    assert not works(shared_server, secret, "default")
    page.get_by_role("link", name="Back to your account").click()
    assert secret not in page.content()
    tokens = page.get_by_role("region", name="Your tokens")
    shown = tokens.get_by_role("listitem").inner_text()
    for text in ("<b>CI</b> & more", "web", "analytics, events, read", "never"):
        assert text in shown
    with accounts_of(shared_server) as accounts:
        [token] = accounts.tokens.list_for_user(accounts.users.get(ann))
    assert token.scopes == {Scope.READ, Scope.EVENTS, Scope.ANALYTICS}
    assert token.expires_at_ms == token.created_at_ms + 30 * 86400 * 1000
    tokens.get_by_role("button", name="Revoke <b>CI</b> & more").click()
    assert page.get_by_role("status").inner_text() == "Token revoked."
    assert "1 expired or revoked" in page.get_by_role("region", name="Your tokens").inner_text()
    # At once: the server did it itself, so nothing remembers the token.
    assert not works(shared_server, secret, "web")
    assert last_actions(shared_server, 2) == [(ann, "token.revoke"), (ann, "token.create")]
    assert errors_of(page) == []


def test_a_token_may_be_for_all_teams_and_without_end(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        token = someone.form_token("/account")
        made = someone.post("/account/tokens", token, scopes="read", days="", team="", label="")
        assert made.status_code == 200
    with accounts_of(shared_server) as accounts:
        [kept] = accounts.tokens.list_for_user(accounts.users.get(ann))
    assert kept.team is None
    assert kept.expires_at_ms is None
    assert kept.scopes == {Scope.READ}


def test_a_token_that_cannot_be_is_not_made(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        form_token = someone.form_token("/account")
        for form, why in IMPOSSIBLE:
            answer = someone.post("/account/tokens", form_token, None, **form)
            assert answer.status_code == 400, form
            assert why in answer.text
    with accounts_of(shared_server) as accounts:
        assert accounts.tokens.list_for_user(accounts.users.get(ann)) == []


def test_nobody_revokes_anothers_token(shared_server: Server, ann: str) -> None:
    other = add_person(shared_server, f"bob-{uuid.uuid4().hex}@example.com", "default")
    with accounts_of(shared_server) as accounts:
        token, secret = accounts.tokens.create(None, "bob's", user=other)
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        answer = someone.post(f"/account/tokens/{token.id}/revoke", someone.form_token("/account"))
        assert answer.status_code == 404
        assert "You have no such token." in answer.text
    assert works(shared_server, secret)


def test_a_new_password_ends_the_other_sessions_but_neither_this_one_nor_tokens(
    page: Page, shared_server: Server, ann: str
) -> None:
    with accounts_of(shared_server) as accounts:
        _, secret = accounts.tokens.create(None, "", user=accounts.users.get(ann))
    sign_in(page, shared_server, ann)
    with visitor(shared_server) as elsewhere:
        elsewhere.sign_in(ann)
        form = page.get_by_role("region", name="Password")
        form.get_by_label("Current password").fill(PASSWORD)
        form.get_by_label("New password", exact=True).fill(NEW)
        form.get_by_label("Confirm new password").fill(NEW)
        form.get_by_role("button").click()
        assert page.get_by_role("status").inner_text() == "Password changed."
        assert elsewhere.get("/account").headers["location"].startswith("/login")
        assert elsewhere.sign_in(ann, PASSWORD).status_code == 403
        assert elsewhere.sign_in(ann, NEW).status_code == 303
    page.reload()
    assert ann in page.inner_text("main")
    assert works(shared_server, secret)
    assert last_actions(shared_server, 1) == [(ann, "user.password")]


@pytest.mark.parametrize(
    ("old", "new", "again", "why"),
    [
        ("wrong", NEW, NEW, "The current password is wrong."),
        (PASSWORD, NEW, NEW + "!", "The new passwords do not match."),
        (PASSWORD, "short", "short", "10 to 1024 characters"),
        (PASSWORD, "x" * 1025, "x" * 1025, "10 to 1024 characters"),
    ],
)
def test_a_password_is_not_changed_by_mistake(
    shared_server: Server, ann: str, old: str, new: str, again: str, why: str
) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        form_token = someone.form_token("/account")
        answer = someone.post("/account/password", form_token, old=old, new=new, again=again)
        assert answer.status_code == 400
        assert why in answer.text
        assert someone.get("/account").status_code == 200
    with visitor(shared_server) as someone:
        assert someone.sign_in(ann).status_code == 303


def test_who_finds_an_open_session_cannot_guess_the_password(
    shared_server: Server, ann: str
) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        form_token = someone.form_token("/account")
        guesses = {"old": "a guess", "new": NEW, "again": NEW}
        tries = [someone.post("/account/password", form_token, None, **guesses) for _ in range(5)]
        while tries[-1].status_code == 400 and len(tries) < 12:
            tries.append(someone.post("/account/password", form_token, None, **guesses))
    assert [answer.status_code for answer in tries] == [400] * (len(tries) - 1) + [429]
    assert 1 <= int(tries[-1].headers["retry-after"]) <= 60


def test_who_was_disabled_in_the_meantime_changes_nothing(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        form_token = someone.form_token("/account")
        with accounts_of(shared_server) as accounts:
            accounts.users.disable(accounts.users.get(ann))
        answer = someone.post("/account/password", form_token, old="", new=NEW, again=NEW)
        assert answer.headers["location"] == "/login"
