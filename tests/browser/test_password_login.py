"""Login and logout with a password: sessions, redirects, CSRF protection and cookies."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page

from tests.support.browser import console_errors
from tests.support.browser_user import (
    PASSWORD,
    BrowserUser,
    browser_user,
    create_user,
    log_in,
    open_accounts,
    submit_login,
)
from tests.support.server import Server

WRONG_CREDENTIALS = "Wrong email address or password."
UNSAFE_REDIRECTS = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    " /account/x",
    "javascript:alert(1)",
    "evil.example",
    "",
    "/ünsafe",
    "/login?next=/login",
    "/logout",
    "/" + "x" * 5000,
]
FORM_PATHS = ("/account/tokens", "/account/tokens/tok_x/revoke", "/account/password", "/logout")


@pytest.fixture
def ann(shared_server: Server) -> str:
    """The email address of a new user."""
    return create_user(shared_server, f"ann-{uuid.uuid4().hex}@example.com", "default").email


def login_failures(server: Server) -> float:
    return server.metric("hitrate_login_failures_total")


def test_login_returns_to_the_requested_page(page: Page, shared_server: Server, ann: str) -> None:
    requested = f"{shared_server.url}/account?done=revoked"
    page.goto(requested)
    assert page.url.startswith(f"{shared_server.url}/login?next=")
    submit_login(page, ann)
    page.wait_for_url(requested)
    assert ann in page.inner_text("header")
    assert console_errors(page) == []


def test_login_ignores_case_and_spaces_of_the_email_address(
    shared_server: Server, ann: str
) -> None:
    with browser_user(shared_server) as user:
        assert user.log_in(f"  {ann.upper()} ").status_code == 303


def test_logout_ends_the_session_on_the_server(page: Page, shared_server: Server, ann: str) -> None:
    log_in(page, shared_server, ann)
    [cookie] = [c for c in page.context.cookies() if c["name"] == "hitrate_session"]
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{shared_server.url}/login")
    assert "hitrate_session" not in {c["name"] for c in page.context.cookies()}
    response = httpx.get(
        f"{shared_server.url}/account",
        headers={"accept": "text/html", "cookie": f"hitrate_session={cookie['value']}"},
    )
    assert response.headers["location"].startswith("/login")


def test_login_page_redirects_users_who_are_logged_in(
    page: Page, shared_server: Server, ann: str
) -> None:
    log_in(page, shared_server, ann)
    page.goto(f"{shared_server.url}/login")
    assert page.url.startswith(f"{shared_server.url}/teams/")
    page.goto(shared_server.url)
    assert page.url.startswith(f"{shared_server.url}/teams/")


def test_login_failures_are_indistinguishable_and_counted(shared_server: Server, ann: str) -> None:
    disabled = create_user(shared_server, f"disabled-{uuid.uuid4().hex}@example.com")
    passwordless = create_user(shared_server, f"sso-{uuid.uuid4().hex}@example.com", password=None)
    with open_accounts(shared_server) as accounts:
        accounts.users.disable(disabled)
    before = login_failures(shared_server)
    attempts = [
        (ann, "not her password"),
        ("nobody@example.com", PASSWORD),
        (disabled.email, PASSWORD),
        (passwordless.email, ""),
    ]
    pages = set()
    for email, password in attempts:
        with browser_user(shared_server) as user:
            response = user.log_in(email, password)
            assert response.status_code == 403
            assert WRONG_CREDENTIALS in response.text
            assert user.cookie() is None
            token = user.form_token()
            pages.add(response.text.replace(email, "").replace(token, ""))
    assert len(pages) == 1
    assert login_failures(shared_server) == before + len(attempts)


def test_login_failure_is_announced_and_keeps_the_email_address(
    page: Page, shared_server: Server, ann: str
) -> None:
    page.goto(f"{shared_server.url}/login")
    submit_login(page, ann, "not her password")
    assert page.get_by_role("alert").inner_text() == WRONG_CREDENTIALS
    field = page.get_by_label("Password")
    assert field.get_attribute("aria-describedby") == page.get_by_role("alert").get_attribute("id")
    assert field.input_value() == ""
    assert page.get_by_label("Email address").input_value() == ann


def test_repeated_login_failures_delay_only_that_account(shared_server: Server, ann: str) -> None:
    other = create_user(shared_server, f"bob-{uuid.uuid4().hex}@example.com")
    with browser_user(shared_server) as user:
        # On a busy machine the first delays may have passed before the next attempt.
        attempts = [user.log_in(ann, "a guess") for _ in range(5)]
        while attempts[-1].status_code == 403 and len(attempts) < 12:
            attempts.append(user.log_in(ann.upper(), "a guess"))
        assert [response.status_code for response in attempts] == [403] * (len(attempts) - 1) + [
            429
        ]
        assert 1 <= int(attempts[-1].headers["retry-after"]) <= 60
        assert "Too many attempts for this address; try again in" in attempts[-1].text
        assert user.log_in(other.email).status_code == 303


def test_login_never_redirects_to_another_server(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        for url in UNSAFE_REDIRECTS:
            response = user.http.get("/login", params={"next": url})
            assert response.headers["location"] == "/", url
    for url in UNSAFE_REDIRECTS[:4]:
        with browser_user(shared_server) as user:
            assert user.log_in(ann, next_url=url).headers["location"] == "/"


def test_login_replaces_a_preset_session_cookie(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        user.http.cookies.set("hitrate_session", "planted", domain="127.0.0.1", path="/")
        user.log_in(ann)
        first = user.http.cookies.get("hitrate_session", domain="127.0.0.1")
        assert first not in (None, "planted")
    with browser_user(shared_server) as user:
        user.log_in(ann)
        assert user.cookie() != first


def test_session_ends_when_its_user_is_disabled(
    page: Page, shared_server: Server, ann: str
) -> None:
    log_in(page, shared_server, ann)
    with open_accounts(shared_server) as accounts:
        accounts.users.disable(accounts.users.get(ann))
    page.reload()
    assert page.url.startswith(f"{shared_server.url}/login")
    with open_accounts(shared_server) as accounts:
        accounts.users.disable(accounts.users.get(ann), disabled=False)
    page.goto(f"{shared_server.url}/account")
    assert page.url.startswith(f"{shared_server.url}/login")


def is_rejected(user: BrowserUser, path: str, token: str | None, **headers: str) -> bool:
    response = user.post(path, token, headers, label="x", scopes="read", email="e", password="p")
    return response.status_code == 403 and "alert" in response.text


@pytest.mark.parametrize("path", FORM_PATHS)
def test_form_requires_the_csrf_token_of_its_session(
    shared_server: Server, ann: str, path: str
) -> None:
    with browser_user(shared_server) as user, browser_user(shared_server) as other:
        before = user.form_token()
        user.log_in(ann)
        other.log_in(ann)
        own = user.form_token("/account")
        assert is_rejected(user, path, None)
        assert is_rejected(user, path, "")
        assert is_rejected(user, path, "0" * 64)
        assert is_rejected(user, path, "ü")
        assert is_rejected(user, path, before)
        assert is_rejected(user, path, other.form_token("/account"))
        assert is_rejected(user, path, own, origin="https://evil.example")
        assert is_rejected(user, path, own, **{"sec-fetch-site": "cross-site"})
        assert is_rejected(user, path, own, **{"sec-fetch-site": "same-site"})
        assert user.get("/account").status_code == 200
        with open_accounts(shared_server) as accounts:
            assert accounts.tokens.list_for_user(accounts.users.get(ann)) == []


def test_login_form_requires_the_csrf_token_of_its_browser(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user, browser_user(shared_server) as other:
        own = user.form_token()
        assert is_rejected(user, "/login", None)
        assert is_rejected(user, "/login", other.form_token())
        assert is_rejected(user, "/login", own, origin="http://evil.example")
        assert is_rejected(user, "/login", own, **{"sec-fetch-site": "cross-site"})
        response = user.post(
            "/login",
            own,
            {"origin": shared_server.url, "sec-fetch-site": "same-origin"},
            email=ann,
            password=PASSWORD,
        )
        assert response.status_code == 303


def test_invalid_form_body_is_rejected(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        for body in (b"\xff\xfe=1", b"&".join(b"a=1" for _ in range(100))):
            assert user.http.post("/account/tokens", content=body).status_code == 400
        large = user.http.post(
            "/account/tokens", content=b"a" * 100_000, headers={"accept": "text/html"}
        )
        assert large.status_code == 413
        assert "alert" in large.text


def test_error_is_json_for_clients_other_than_browsers(shared_server: Server) -> None:
    response = httpx.get(f"{shared_server.url}/account")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")


def test_cookies_are_http_only_and_same_site(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        before = user.get("/login").headers["set-cookie"]
        after = user.log_in(ann).headers.get_list("set-cookie")[0]
    assert before.startswith("hitrate_browser=")
    assert after.startswith("hitrate_session=")
    assert "Max-Age=43200" in after
    for cookie in (before, after):
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert "Domain" not in cookie


def test_cookies_are_secure_behind_a_tls_proxy(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--public-url", "https://cache.example.com/")
    server.start()
    try:
        create_user(server, "ann@example.com")
        with browser_user(server) as user:
            cookie = user.get("/login").headers["set-cookie"]
            assert cookie.startswith("__Host-hitrate_browser=")
            assert "Secure" in cookie
    finally:
        server.kill()


def test_cookies_are_secure_and_bound_to_the_host_over_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None and "CI" not in os.environ:
        pytest.skip("openssl, which makes the certificate, is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    server = Server(tmp_path / "data", "--tls-cert", str(cert), "--tls-key", str(key))
    server.scheme, server.verify = "https", ssl.create_default_context(cafile=str(cert))
    server.start()
    try:
        create_user(server, "ann@example.com")
        with browser_user(server) as user:
            cookie = user.log_in("ann@example.com").headers.get_list("set-cookie")[0]
            assert cookie.startswith("__Host-hitrate_session=")
            assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
            assert user.get("/account").status_code == 200
    finally:
        server.kill()


def test_passwords_and_cookies_are_not_logged(server: Server) -> None:
    create_user(server, "ann@example.com")
    with browser_user(server) as user:
        user.log_in("ann@example.com", "not the password")
        user.log_in("ann@example.com")
        secret = user.cookie()
        assert secret is not None
        user.get("/account")
    server.stop()
    for hidden in ("not the password", PASSWORD, secret):
        assert hidden not in server.log
        assert hidden.encode() not in (server.data_dir / "hitrate.sqlite").read_bytes()
