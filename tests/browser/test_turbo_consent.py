"""The consent pages of `turbo login`: tokens are sent to turbo on this computer only."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from hitrate.auth.models import Token
from hitrate.teams.models import OPERATOR
from tests.conftest import StartServer
from tests.support.browser import console_errors
from tests.support.browser_user import (
    BrowserUser,
    browser_user,
    create_user,
    open_accounts,
    submit_login,
)
from tests.support.callback_listener import CallbackListener
from tests.support.server import Server

TURBO_URL = "http://127.0.0.1:9789"
INVALID_TARGETS = [
    None,
    "",
    "https://127.0.0.1:9789",
    "http://evil.example",
    "http://127.0.0.1.evil.example/",
    "http://127.0.0.1@evil.example/",
    "http://ann:secret@127.0.0.1/",
    "http://localhost:80:80/",
    "http://127.0.0.1\\@evil.example/",
    "http://127.0.0.1/\r\nset-cookie: a=b",
    "http://127.0.0.1/#fragment",
    "http://127.1/",
    "http://[::2]/",
    "http://localhost.:80/",
    "//127.0.0.1/",
    "javascript:alert(1)",
    "http://127.0.0.1/" + "x" * 3000,
]


@pytest.fixture
def ann(shared_server: Server) -> str:
    """The email address of a new user in two teams."""
    email = f"ann-{uuid.uuid4().hex}@example.com"
    return create_user(shared_server, email, "default", "web").email


def tokens_of(server: Server, email: str) -> list[Token]:
    with open_accounts(server) as accounts:
        return accounts.tokens.list_for_user(accounts.users.get(email))


def consent_path(path: str = "/turborepo/token", **query: str | None) -> str:
    return f"{path}?{urlencode({k: v for k, v in query.items() if v is not None})}"


def test_allow_sends_a_token_and_the_state_to_turbo(
    page: Page, shared_server: Server, ann: str, listener: CallbackListener
) -> None:
    target = f"{listener.url}/here?tag=1&tag=2"
    page.goto(shared_server.url + consent_path(redirect_uri=target, state="S t+a/te"))
    submit_login(page, ann)
    page.get_by_role("heading", name="Let turbo on this computer use the cache as").wait_for()
    assert listener.url in page.inner_text("main")
    assert tokens_of(shared_server, ann) == []
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{listener.url}/**")
    [query] = listener.queries
    assert query.pop("tag") == ["1", "2"]
    assert query.pop("state") == ["S t+a/te"]
    [[secret]] = [query.pop("token")]
    assert query == {}
    whoami = httpx.get(
        f"{shared_server.url}/v2/user", headers={"authorization": f"Bearer {secret}"}
    )
    assert whoami.json()["user"]["email"] == ann
    [token] = tokens_of(shared_server, ann)
    assert (token.label, token.team) == ("turbo login", None)
    assert sorted(token.scopes) == ["analytics", "events", "read", "write"]
    assert token.expires_at_ms == token.created_at_ms + 90 * 86400 * 1000
    assert console_errors(page) == []


def test_cancel_creates_and_sends_no_token(
    page: Page, shared_server: Server, ann: str, listener: CallbackListener
) -> None:
    page.goto(shared_server.url + consent_path(redirect_uri=listener.url))
    submit_login(page, ann)
    page.get_by_role("button", name="Cancel").click()
    assert "No token was sent" in page.get_by_role("status").inner_text()
    assert listener.queries == []
    assert tokens_of(shared_server, ann) == []


def allow(user: BrowserUser, path: str) -> httpx.Response:
    return user.post(path, user.form_token(path), answer="allow")


def test_callback_has_no_state_if_the_client_sent_none(shared_server: Server, ann: str) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        response = allow(user, consent_path(redirect_uri=TURBO_URL))
    assert response.status_code == 303
    assert set(parse_qs(urlsplit(response.headers["location"]).query)) == {"token"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:9789", "LOCALHOST"])
def test_redirect_uri_may_have_any_loopback_host_and_port(
    shared_server: Server, ann: str, host: str
) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        response = allow(user, consent_path(redirect_uri=f"http://{host}"))
    assert response.headers["location"].startswith(f"http://{host}/?token=hr_")


def test_redirect_uri_may_be_an_ipv6_loopback_address(
    page: Page, shared_server: Server, ann: str
) -> None:
    page.route("http://[::1]:9789/**", lambda route: route.fulfill(body="back"))
    page.goto(shared_server.url + consent_path(redirect_uri="http://[::1]:9789"))
    submit_login(page, ann)
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url("http://[::1]:9789/**")
    assert console_errors(page) == []


@pytest.mark.parametrize("signed_in", [False, True])
def test_redirect_uri_outside_this_computer_is_rejected(
    shared_server: Server, ann: str, signed_in: bool
) -> None:
    token = None
    with browser_user(shared_server) as user:
        if signed_in:
            user.log_in(ann)
            token = user.form_token("/account")
        for target in INVALID_TARGETS:
            for path in (
                consent_path(redirect_uri=target, state="s"),
                consent_path("/api/auth/sso", teamId="default", next=target, state="s"),
            ):
                for response in (user.get(path), user.post(path, token, answer="allow")):
                    if (
                        response.status_code == 303
                    ):  # without a session, forms redirect to the login page
                        assert response.headers["location"] == "/login"
                    else:
                        assert response.status_code == 400, target
                        assert "on this computer" in response.text
    assert tokens_of(shared_server, ann) == []


@pytest.mark.parametrize("path", ["/turborepo/token", "/api/auth/sso"])
def test_consent_form_from_another_site_is_rejected(
    shared_server: Server, ann: str, path: str
) -> None:
    path_with_query = consent_path(path, redirect_uri=TURBO_URL, next=TURBO_URL, teamId="default")
    with browser_user(shared_server) as user:
        user.log_in(ann)
        own = user.form_token(path_with_query)
        for token, headers in (
            (None, {}),
            ("0" * 64, {}),
            (own, {"origin": "https://evil.example"}),
            (own, {"sec-fetch-site": "cross-site"}),
        ):
            assert user.post(path_with_query, token, headers, answer="allow").status_code == 403
    assert tokens_of(shared_server, ann) == []


def test_token_lifetime_follows_the_setting(start_server: StartServer) -> None:
    server = start_server("--login-token-ttl", "never")
    create_user(server, "ann@example.com", "default")
    with browser_user(server) as user:
        user.log_in("ann@example.com")
        path = consent_path(redirect_uri=TURBO_URL)
        assert "Never; you can revoke it" in user.get(path).text
        allow(user, path)
    [token] = tokens_of(server, "ann@example.com")
    assert token.expires_at_ms is None


def verification_token(user: BrowserUser, team: str = "default") -> str:
    response = allow(user, consent_path("/api/auth/sso", teamId=team, next=TURBO_URL, state="S"))
    assert response.status_code == 303
    query = parse_qs(urlsplit(response.headers["location"]).query)
    assert query["state"] == ["S"]
    [[token]] = [query["token"]]
    return token


def verify(server: Server, **query: str) -> httpx.Response:
    return httpx.get(f"{server.url}/registration/verify", params=query)


def test_verification_token_is_exchanged_once_for_a_token_of_its_team(
    shared_server: Server, ann: str
) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        token = verification_token(user)
    response = verify(shared_server, token=token, tokenName="Turbo\x00 CLI on vm\n" + "x" * 300)
    assert response.status_code == 200
    with open_accounts(shared_server) as accounts:
        team = accounts.teams.find(slug="default")
    assert team is not None
    assert response.json()["teamId"] == team.id
    [created] = tokens_of(shared_server, ann)
    assert created.team is not None
    assert created.team.id == team.id
    assert created.label == ("Turbo CLI on vm" + "x" * 300)[:200]
    repeated = verify(shared_server, token=token, tokenName="t")
    assert (repeated.status_code, repeated.json()["error"]["code"]) == (
        401,
        "unauthorized",
    )
    assert repeated.json()["code"] == "unauthorized"
    assert len(tokens_of(shared_server, ann)) == 1


def test_verification_token_is_rejected_after_the_user_left_the_team_or_was_disabled(
    shared_server: Server, ann: str
) -> None:
    with browser_user(shared_server) as user:
        user.log_in(ann)
        web_verification, default_verification = (
            verification_token(user, "web"),
            verification_token(user),
        )
    with open_accounts(shared_server) as accounts:
        account, team = accounts.users.get(ann), accounts.teams.find(slug="web")
        assert team is not None
        accounts.members.remove(team, account.id, OPERATOR)
        assert verify(shared_server, token=web_verification).status_code == 403
        accounts.users.disable(account)
        assert verify(shared_server, token=default_verification).status_code == 401
    assert tokens_of(shared_server, ann) == []


def test_invalid_verification_token_is_rejected(shared_server: Server) -> None:
    assert verify(shared_server, token="guessed").status_code == 401
    assert verify(shared_server).status_code == 400
    assert verify(shared_server, token="x" * 1000).status_code == 400


@pytest.mark.parametrize("team", ["no-such-team", "team-without-ann", ""])
def test_team_consent_is_refused_to_users_outside_the_team(
    shared_server: Server, ann: str, team: str
) -> None:
    with open_accounts(shared_server) as accounts:
        if accounts.teams.find(slug="team-without-ann") is None:
            accounts.teams.create("team-without-ann")
    with browser_user(shared_server) as user:
        user.log_in(ann)
        response = user.get(consent_path("/api/auth/sso", teamId=team, next=TURBO_URL, state="S"))
    assert response.status_code == 403
    assert "is not in the team" in response.text


def test_team_consent_follows_a_login(
    page: Page, shared_server: Server, ann: str, listener: CallbackListener
) -> None:
    with open_accounts(shared_server) as accounts:
        team = accounts.teams.find(slug="web")
    assert team is not None
    page.goto(
        shared_server.url
        + consent_path("/api/auth/sso", teamId=team.id, mode="login", next=listener.url, state="S")
    )
    submit_login(page, ann)
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{listener.url}/**")
    [query] = listener.queries
    assert query["email"] == [ann]
    assert query["state"] == ["S"]
    assert verify(shared_server, token=query["token"][0]).json()["teamId"] == team.id
    assert console_errors(page) == []
