"""How the pages look and behave: for everybody, at any width, light and dark, without scripts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from hitrate.auth.models import Scope
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support.browser import Browser, errors_of, serious_findings
from tests.support.browser_user import PASSWORD, accounts_of, add_person, fill_in, sign_in, visitor
from tests.support.server import Server

TURBO = "/turborepo/token?redirect_uri=http://127.0.0.1:9789&state=S"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self' http://127.0.0.1:* http://localhost:*; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@pytest.fixture
def ann(shared_server: Server) -> str:
    """Somebody whose page has some of everything, with names as long as they may be."""
    user = add_person(shared_server, f"{'ann' * 15}-{uuid.uuid4().hex}@example.com", "default")
    with accounts_of(shared_server) as accounts:
        for label in ("CI", "x" * 200, ""):
            accounts.tokens.create(None, label, user=user, scopes=set(Scope))
        old, _ = accounts.tokens.create(None, "old", user=user)
        accounts.tokens.revoke(old)
    return user.email


def login(page: Page, server: Server, _email: str) -> None:
    page.goto(f"{server.url}/login")


def failed_login(page: Page, server: Server, email: str) -> None:
    page.goto(f"{server.url}/login")
    fill_in(page, email, "not the password")
    page.get_by_role("alert").wait_for()


def account(page: Page, server: Server, email: str) -> None:
    sign_in(page, server, email)
    page.get_by_text("1 expired or revoked").click()


def mistake(page: Page, server: Server, email: str) -> None:
    sign_in(page, server, email)
    form = page.get_by_role("region", name="Password")
    form.get_by_label("Current password").fill("not the password")
    for label in ("New password", "Confirm new password"):
        form.get_by_label(label, exact=True).fill(PASSWORD)
    form.get_by_role("button").click()
    page.get_by_role("alert").wait_for()


def made(page: Page, server: Server, email: str) -> None:
    sign_in(page, server, email)
    page.get_by_label("Label").fill("x" * 200)
    page.get_by_role("button", name="Create token").click()
    page.get_by_text("won't be shown again").wait_for()


def connect(page: Page, server: Server, email: str) -> None:
    page.goto(server.url + TURBO)
    fill_in(page, email)
    page.get_by_role("button", name="Allow").wait_for()


def cancelled(page: Page, server: Server, email: str) -> None:
    connect(page, server, email)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("No token was sent").wait_for()


def connected(page: Page, server: Server, _email: str) -> None:
    page.goto(f"{server.url}/turborepo/success")


def refusal(page: Page, server: Server, _email: str) -> None:
    page.goto(f"{server.url}/turborepo/token?redirect_uri=http://evil.example")


SHOWN: list[Callable[[Page, Server, str], None]] = [
    login,
    failed_login,
    account,
    mistake,
    made,
    connect,
    cancelled,
    connected,
    refusal,
]


@pytest.mark.parametrize("show", SHOWN)
def test_a_page_is_for_everybody(
    browser: Browser, shared_server: Server, ann: str, axe: Path, show: Callable[..., None]
) -> None:
    for scheme, width in (("light", 1280), ("dark", 320)):
        page = browser.new_page(
            viewport=(width, 700), colour_scheme="dark" if scheme == "dark" else "light"
        )
        show(page, shared_server, ann)
        assert serious_findings(page, axe) == [], scheme
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        refusals = [e for e in errors_of(page) if "the server responded with a status of 4" in e]
        assert errors_of(page) == refusals
        assert page.title().endswith(" · hitrate")
        assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1


def test_the_whole_way_works_with_the_keyboard_alone_and_without_scripts(
    browser: Browser, shared_server: Server, ann: str
) -> None:
    page = browser.new_page(scripts=False)
    page.goto(f"{shared_server.url}/login")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.keyboard.type(ann)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{shared_server.url}/teams/*")


@pytest.mark.parametrize(
    "path", ["/login", "/account", TURBO, "/turborepo/success", "/turborepo/token", "/login?next=/"]
)
def test_a_page_keeps_to_itself(shared_server: Server, path: str) -> None:
    with visitor(shared_server) as someone:
        answer = someone.get(path)
    headers = answer.headers
    if answer.status_code != 303:
        assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_nothing_is_asked_of_any_other_server(page: Page, shared_server: Server, ann: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    account(page, shared_server, ann)
    outside = [u for u in asked if not u.startswith((f"{shared_server.url}/", "data:"))]
    assert outside == []


def test_what_people_are_called_is_text(page: Page, shared_server: Server) -> None:
    name = "<img src=x onerror=alert(1)>"
    email = f"{uuid.uuid4().hex}@example.com"
    with accounts_of(shared_server) as accounts:
        user = accounts.users.create(email, name, password=PASSWORD)
        team = accounts.teams.create(f"t-{uuid.uuid4().hex}", name)
        accounts.members.add(team, user, Role.OWNER, OPERATOR)
    sign_in(page, shared_server, email)
    assert page.get_by_role("heading", level=1).inner_text() == name
    assert page.locator("img").count() == 0
    page.goto(f"{shared_server.url}/login?next=/%22%3E%3Cimg%20src=x%3E")
    assert page.locator("img").count() == 0


def test_the_style_sheet_may_be_kept(shared_server: Server) -> None:
    answer = httpx.get(f"{shared_server.url}/login/style.css")
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert "url(" not in answer.text
    assert "@import" not in answer.text
