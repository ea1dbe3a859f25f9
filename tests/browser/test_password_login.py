"""Signing in and out with a password: who gets in, where to, and how long it holds."""

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

from tests.support.browser import errors_of
from tests.support.browser_user import (
    PASSWORD,
    Visitor,
    accounts_of,
    add_person,
    fill_in,
    sign_in,
    visitor,
)
from tests.support.server import Server

WRONG = "Wrong e-mail address or password."
ELSEWHERE = [
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
FORMS = ("/account/tokens", "/account/tokens/tok_x/revoke", "/account/password", "/logout")


@pytest.fixture
def ann(shared_server: Server) -> str:
    """The address of somebody new."""
    return add_person(shared_server, f"ann-{uuid.uuid4().hex}@example.com", "default").email


def refused(server: Server) -> float:
    return server.metric("hitrate_login_failures_total")


def test_who_is_not_signed_in_is_asked_to_and_then_comes_back(
    page: Page, shared_server: Server, ann: str
) -> None:
    wanted = f"{shared_server.url}/account?done=revoked"
    page.goto(wanted)
    assert page.url.startswith(f"{shared_server.url}/login?next=")
    fill_in(page, ann)
    page.wait_for_url(wanted)
    assert ann in page.inner_text("header")
    assert errors_of(page) == []


def test_the_address_is_known_in_any_case_and_with_spaces(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        assert someone.sign_in(f"  {ann.upper()} ").status_code == 303


def test_signing_out_ends_the_session_not_just_the_cookie(
    page: Page, shared_server: Server, ann: str
) -> None:
    sign_in(page, shared_server, ann)
    [kept] = [c for c in page.context.cookies() if c["name"] == "hitrate_session"]
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{shared_server.url}/login")
    assert "hitrate_session" not in {c["name"] for c in page.context.cookies()}
    answer = httpx.get(
        f"{shared_server.url}/account",
        headers={"accept": "text/html", "cookie": f"hitrate_session={kept['value']}"},
    )
    assert answer.headers["location"].startswith("/login")


def test_who_is_signed_in_is_not_asked_again(page: Page, shared_server: Server, ann: str) -> None:
    sign_in(page, shared_server, ann)
    page.goto(f"{shared_server.url}/login")
    assert page.url.startswith(f"{shared_server.url}/teams/")
    page.goto(shared_server.url)
    assert page.url.startswith(f"{shared_server.url}/teams/")


def test_all_failures_look_the_same_and_are_counted(shared_server: Server, ann: str) -> None:
    disabled = add_person(shared_server, f"gone-{uuid.uuid4().hex}@example.com")
    without = add_person(shared_server, f"sso-{uuid.uuid4().hex}@example.com", password=None)
    with accounts_of(shared_server) as accounts:
        accounts.users.disable(disabled)
    before = refused(shared_server)
    tries = [
        (ann, "not her password"),
        ("nobody@example.com", PASSWORD),
        (disabled.email, PASSWORD),
        (without.email, ""),
    ]
    pages = set()
    for email, password in tries:
        with visitor(shared_server) as someone:
            answer = someone.sign_in(email, password)
            assert answer.status_code == 403
            assert WRONG in answer.text
            assert someone.cookie() is None
            token = someone.form_token()
            pages.add(answer.text.replace(email, "").replace(token, ""))
    assert len(pages) == 1
    assert refused(shared_server) == before + len(tries)


def test_a_failure_is_announced_and_the_address_stays(
    page: Page, shared_server: Server, ann: str
) -> None:
    page.goto(f"{shared_server.url}/login")
    fill_in(page, ann, "not her password")
    assert page.get_by_role("alert").inner_text() == WRONG
    field = page.get_by_label("Password")
    assert field.get_attribute("aria-describedby") == page.get_by_role("alert").get_attribute("id")
    assert field.input_value() == ""
    assert page.get_by_label("E-mail address").input_value() == ann


def test_who_guesses_has_to_wait_and_nobody_else(shared_server: Server, ann: str) -> None:
    other = add_person(shared_server, f"bob-{uuid.uuid4().hex}@example.com")
    with visitor(shared_server) as someone:
        # On a busy machine the first waits may be over before the next try.
        tries = [someone.sign_in(ann, "a guess") for _ in range(5)]
        while tries[-1].status_code == 403 and len(tries) < 12:
            tries.append(someone.sign_in(ann.upper(), "a guess"))
        assert [answer.status_code for answer in tries] == [403] * (len(tries) - 1) + [429]
        assert 1 <= int(tries[-1].headers["retry-after"]) <= 60
        assert "Too many attempts for this address; try again in" in tries[-1].text
        assert someone.sign_in(other.email).status_code == 303


def test_nobody_is_sent_to_another_server(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        for wanted in ELSEWHERE:
            answer = someone.http.get("/login", params={"next": wanted})
            assert answer.headers["location"] == "/", wanted
    for wanted in ELSEWHERE[:4]:
        with visitor(shared_server) as someone:
            assert someone.sign_in(ann, wanted=wanted).headers["location"] == "/"


def test_a_session_that_somebody_planted_is_not_the_one_that_begins(
    shared_server: Server, ann: str
) -> None:
    with visitor(shared_server) as someone:
        someone.http.cookies.set("hitrate_session", "planted", domain="127.0.0.1", path="/")
        someone.sign_in(ann)
        first = someone.http.cookies.get("hitrate_session", domain="127.0.0.1")
        assert first not in (None, "planted")
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        assert someone.cookie() != first


def test_a_session_ends_when_its_person_is_disabled(
    page: Page, shared_server: Server, ann: str
) -> None:
    sign_in(page, shared_server, ann)
    with accounts_of(shared_server) as accounts:
        accounts.users.disable(accounts.users.get(ann))
    page.reload()
    assert page.url.startswith(f"{shared_server.url}/login")
    with accounts_of(shared_server) as accounts:
        accounts.users.disable(accounts.users.get(ann), disabled=False)
    page.goto(f"{shared_server.url}/account")
    assert page.url.startswith(f"{shared_server.url}/login")


def refuses(someone: Visitor, path: str, token: str | None, **headers: str) -> bool:
    answer = someone.post(path, token, headers, label="x", scopes="read", email="e", password="p")
    return answer.status_code == 403 and "alert" in answer.text


@pytest.mark.parametrize("path", FORMS)
def test_a_form_is_taken_only_from_a_page_of_this_session(
    shared_server: Server, ann: str, path: str
) -> None:
    with visitor(shared_server) as someone, visitor(shared_server) as other:
        before = someone.form_token()
        someone.sign_in(ann)
        other.sign_in(ann)
        own = someone.form_token("/account")
        assert refuses(someone, path, None)
        assert refuses(someone, path, "")
        assert refuses(someone, path, "0" * 64)
        assert refuses(someone, path, "ü")
        assert refuses(someone, path, before)
        assert refuses(someone, path, other.form_token("/account"))
        assert refuses(someone, path, own, origin="https://evil.example")
        assert refuses(someone, path, own, **{"sec-fetch-site": "cross-site"})
        assert refuses(someone, path, own, **{"sec-fetch-site": "same-site"})
        assert someone.get("/account").status_code == 200
        with accounts_of(shared_server) as accounts:
            assert accounts.tokens.list_for_user(accounts.users.get(ann)) == []


def test_the_sign_in_form_is_taken_only_from_its_page(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone, visitor(shared_server) as other:
        own = someone.form_token()
        assert refuses(someone, "/login", None)
        assert refuses(someone, "/login", other.form_token())
        assert refuses(someone, "/login", own, origin="http://evil.example")
        assert refuses(someone, "/login", own, **{"sec-fetch-site": "cross-site"})
        answer = someone.post(
            "/login",
            own,
            {"origin": shared_server.url, "sec-fetch-site": "same-origin"},
            email=ann,
            password=PASSWORD,
        )
        assert answer.status_code == 303


def test_what_is_no_form_is_refused(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        for body in (b"\xff\xfe=1", b"&".join(b"a=1" for _ in range(100))):
            assert someone.http.post("/account/tokens", content=body).status_code == 400
        large = someone.http.post(
            "/account/tokens", content=b"a" * 100_000, headers={"accept": "text/html"}
        )
        assert large.status_code == 413
        assert "alert" in large.text


def test_without_a_browser_a_refusal_is_json(shared_server: Server) -> None:
    answer = httpx.get(f"{shared_server.url}/account")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


def test_cookies_are_kept_from_scripts_and_other_sites(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        before = someone.get("/login").headers["set-cookie"]
        after = someone.sign_in(ann).headers.get_list("set-cookie")[0]
    assert before.startswith("hitrate_browser=")
    assert after.startswith("hitrate_session=")
    assert "Max-Age=43200" in after
    for cookie in (before, after):
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert "Domain" not in cookie


def test_behind_a_proxy_with_tls_cookies_are_secure(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--public-url", "https://cache.example.com/")
    server.start()
    try:
        add_person(server, "ann@example.com")
        with visitor(server) as someone:
            cookie = someone.get("/login").headers["set-cookie"]
            assert cookie.startswith("__Host-hitrate_browser=")
            assert "Secure" in cookie
    finally:
        server.kill()


def test_over_tls_cookies_are_secure_and_bound_to_the_host(tmp_path: Path) -> None:
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
        add_person(server, "ann@example.com")
        with visitor(server) as someone:
            cookie = someone.sign_in("ann@example.com").headers.get_list("set-cookie")[0]
            assert cookie.startswith("__Host-hitrate_session=")
            assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
            assert someone.get("/account").status_code == 200
    finally:
        server.kill()


def test_neither_password_nor_cookie_is_in_the_log(server: Server) -> None:
    add_person(server, "ann@example.com")
    with visitor(server) as someone:
        someone.sign_in("ann@example.com", "not the password")
        someone.sign_in("ann@example.com")
        secret = someone.cookie()
        assert secret is not None
        someone.get("/account")
    server.stop()
    for hidden in ("not the password", PASSWORD, secret):
        assert hidden not in server.log
        assert hidden.encode() not in (server.data_dir / "hitrate.sqlite").read_bytes()
