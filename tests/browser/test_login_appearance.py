"""Login, account and consent pages: accessibility, narrow screens, security headers, escaping."""

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
from tests.support.browser import Browser, accessibility_violations, console_errors
from tests.support.browser_user import (
    PASSWORD,
    browser_user,
    create_user,
    log_in,
    open_accounts,
    submit_login,
)
from tests.support.server import Server

CONSENT_PATH = "/turborepo/token?redirect_uri=http://127.0.0.1:9789&state=S"
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self' http://127.0.0.1:* http://localhost:*; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@pytest.fixture
def ann(shared_server: Server) -> str:
    """A user whose account page has every kind of content, with the longest possible names."""
    user = create_user(shared_server, f"{'ann' * 15}-{uuid.uuid4().hex}@example.com", "default")
    with open_accounts(shared_server) as accounts:
        for label in ("CI", "x" * 200, ""):
            accounts.tokens.create(None, label, user=user, scopes=set(Scope))
        old, _ = accounts.tokens.create(None, "old", user=user)
        accounts.tokens.revoke(old)
    return user.email


def login(page: Page, server: Server, _email: str) -> None:
    page.goto(f"{server.url}/login")


def failed_login(page: Page, server: Server, email: str) -> None:
    page.goto(f"{server.url}/login")
    submit_login(page, email, "not the password")
    page.get_by_role("alert").wait_for()


def account(page: Page, server: Server, email: str) -> None:
    log_in(page, server, email)
    page.get_by_text("1 expired or revoked").click()


def failed_password_change(page: Page, server: Server, email: str) -> None:
    log_in(page, server, email)
    form = page.get_by_role("region", name="Password")
    form.get_by_label("Current password").fill("not the password")
    for label in ("New password", "Confirm new password"):
        form.get_by_label(label, exact=True).fill(PASSWORD)
    form.get_by_role("button").click()
    page.get_by_role("alert").wait_for()


def token_created(page: Page, server: Server, email: str) -> None:
    log_in(page, server, email)
    page.get_by_label("Label").fill("x" * 200)
    page.get_by_role("button", name="Create token").click()
    page.get_by_text("won't be shown again").wait_for()


def consent(page: Page, server: Server, email: str) -> None:
    page.goto(server.url + CONSENT_PATH)
    submit_login(page, email)
    page.get_by_role("button", name="Allow").wait_for()


def cancelled(page: Page, server: Server, email: str) -> None:
    consent(page, server, email)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("No token was sent").wait_for()


def connected(page: Page, server: Server, _email: str) -> None:
    page.goto(f"{server.url}/turborepo/success")


def error(page: Page, server: Server, _email: str) -> None:
    page.goto(f"{server.url}/turborepo/token?redirect_uri=http://evil.example")


PAGES: list[Callable[[Page, Server, str], None]] = [
    login,
    failed_login,
    account,
    failed_password_change,
    token_created,
    consent,
    cancelled,
    connected,
    error,
]


@pytest.mark.parametrize("open_page", PAGES)
def test_page_is_accessible_and_fits_narrow_screens(
    browser: Browser, shared_server: Server, ann: str, axe: Path, open_page: Callable[..., None]
) -> None:
    for scheme, width in (("light", 1280), ("dark", 320)):
        page = browser.new_page(
            viewport=(width, 700), color_scheme="dark" if scheme == "dark" else "light"
        )
        open_page(page, shared_server, ann)
        assert accessibility_violations(page, axe) == [], scheme
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        failed_requests = [
            e for e in console_errors(page) if "the server responded with a status of 4" in e
        ]
        assert console_errors(page) == failed_requests
        assert page.title().endswith(" · hitrate")
        assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1


def test_login_works_with_the_keyboard_and_without_scripts(
    browser: Browser, shared_server: Server, ann: str
) -> None:
    page = browser.new_page(scripts=False)
    page.goto(f"{shared_server.url}/login")
    expect(page.get_by_label("Email address")).to_be_focused()
    page.keyboard.type(ann)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{shared_server.url}/teams/*")


@pytest.mark.parametrize(
    "path",
    ["/login", "/account", CONSENT_PATH, "/turborepo/success", "/turborepo/token", "/login?next=/"],
)
def test_page_sends_security_headers(shared_server: Server, path: str) -> None:
    with browser_user(shared_server) as user:
        response = user.get(path)
    headers = response.headers
    if response.status_code != 303:
        assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_page_requests_nothing_from_other_servers(
    page: Page, shared_server: Server, ann: str
) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    account(page, shared_server, ann)
    outside = [u for u in urls if not u.startswith((f"{shared_server.url}/", "data:"))]
    assert outside == []


def test_names_are_escaped_in_html(page: Page, shared_server: Server) -> None:
    name = "<img src=x onerror=alert(1)>"
    email = f"{uuid.uuid4().hex}@example.com"
    with open_accounts(shared_server) as accounts:
        user = accounts.users.create(email, name, password=PASSWORD)
        team = accounts.teams.create(f"t-{uuid.uuid4().hex}", name)
        accounts.members.add(team, user, Role.OWNER, OPERATOR)
    log_in(page, shared_server, email)
    assert page.get_by_role("heading", level=1).inner_text() == name
    assert page.locator("img").count() == 0
    page.goto(f"{shared_server.url}/login?next=/%22%3E%3Cimg%20src=x%3E")
    assert page.locator("img").count() == 0


def test_style_sheet_is_cacheable_and_self_contained(shared_server: Server) -> None:
    response = httpx.get(f"{shared_server.url}/login/style.css")
    assert response.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in response.headers["cache-control"]
    assert "url(" not in response.text
    assert "@import" not in response.text
