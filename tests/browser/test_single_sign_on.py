"""Single sign-on with a real identity provider in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from hitrate.roles import Role
from tests.support import oidc_provider as at_provider
from tests.support.browser import Browser, console_errors
from tests.support.browser_user import BrowserUser, browser_user, create_user, open_accounts
from tests.support.callback_listener import CallbackListener
from tests.support.node_packages import NodePackages
from tests.support.oidc_provider import ProviderProcess
from tests.support.server import Server

TURBO_URL = "http://127.0.0.1:9789"
CALLBACK_PATH = "/login/sso/callback"
StartSso = Callable[..., tuple[Server, ProviderProcess]]


@pytest.fixture(scope="module")
def start_sso(
    packages: NodePackages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartSso]:
    """A function that starts a server and the identity provider that it uses."""
    running: list[tuple[Server, ProviderProcess]] = []

    def start(*options: str) -> tuple[Server, ProviderProcess]:
        directory = tmp_path_factory.mktemp("sso")
        server = Server(directory / "data")
        provider = ProviderProcess(packages, directory / "provider.log", server.url + CALLBACK_PATH)
        running.append((server, provider))
        server.options = (
            *("--oidc-issuer", provider.url, "--oidc-name", "Acme ID"),
            *("--oidc-client-id", provider.client_id),
            *("--oidc-client-secret", provider.client_secret),
            *options,
        )
        provider.start()
        server.start()
        create_user(server, "dora@example.com", "web", password=None)
        return server, provider

    yield start
    for server, provider in running:
        server.kill()
        provider.stop()


@pytest.fixture(scope="module")
def sso(start_sso: StartSso) -> tuple[Server, ProviderProcess]:
    return start_sso()


@pytest.fixture
def server(sso: tuple[Server, ProviderProcess]) -> Server:
    return sso[0]


@pytest.fixture
def provider(sso: tuple[Server, ProviderProcess]) -> ProviderProcess:
    return sso[1]


def open_provider(page: Page, server: Server, path: str = "/login") -> None:
    """Open a page of the server and go to the provider's login page."""
    page.goto(server.url + path)
    page.get_by_role("link", name="Sign in with Acme ID").click()


def callback_url(user: BrowserUser, login: str) -> str:
    """Log in at the provider over HTTP and return the callback URL."""
    location = user.get("/login/sso").headers["location"]
    return at_provider.log_in_without_browser(location, login, CALLBACK_PATH)


def with_changes(url: str, **changes: str) -> str:
    """Return the URL with changed query parameters."""
    parts = urlsplit(url)
    query = {name: value for name, [value] in parse_qs(parts.query).items()} | changes
    return parts._replace(query=urlencode(query)).geturl()


def rejected_callback(user: BrowserUser, url: str) -> str:
    """Request a callback that must start no session, and return the error page."""
    response = user.get(url)
    assert response.status_code in (400, 403, 503)
    assert user.cookie() is None
    return response.text


def test_existing_user_logs_in_at_the_provider(page: Page, server: Server) -> None:
    open_provider(page, server, "/login?next=/account%3Fdone%3Drevoked")
    at_provider.log_in(page, "dora")
    page.wait_for_url(f"{server.url}/account?done=revoked")
    assert "dora@example.com" in page.inner_text("header")
    password = page.get_by_role("region", name="Password")
    assert "You sign in with Acme ID" in password.inner_text()
    assert password.get_by_role("button").count() == 0
    assert console_errors(page) == []


def test_logout_ends_a_session_of_single_sign_on(page: Page, server: Server) -> None:
    open_provider(page, server)
    at_provider.log_in(page, "dora")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{server.url}/login")


def assert_refused(page: Page, text: str) -> None:
    assert text in page.get_by_role("alert").inner_text()
    assert "hitrate_session" not in {c["name"] for c in page.context.cookies()}


def test_unknown_user_is_refused_and_not_created(page: Page, server: Server) -> None:
    before = server.metric("hitrate_login_failures_total")
    open_provider(page, server)
    at_provider.log_in(page, "eve")
    assert_refused(page, "eve@example.com has no account on this server.")
    with open_accounts(server) as accounts:
        assert accounts.users.find("eve@example.com") is None
    assert server.metric("hitrate_login_failures_total") == before + 1


def test_unknown_user_is_created_in_the_configured_team(page: Page, start_sso: StartSso) -> None:
    server, _ = start_sso("--oidc-join", "web:viewer")
    open_provider(page, server)
    at_provider.log_in(page, "Finn@Example.org")
    page.wait_for_url(f"{server.url}/teams/*")
    with open_accounts(server) as accounts:
        finn = accounts.users.get("finn@example.org")
        [member] = accounts.members.list_for_user(finn)
        entries = accounts.audit.page(None, 2)
    assert (finn.name, finn.has_password) == ("Finn", False)
    assert (member.team.slug, member.role) == ("web", Role.VIEWER)
    assert [(e.actor_name, e.action) for e in entries] == [
        ("finn@example.org", "member.add"),
        ("single sign-on", "user.create"),
    ]


def test_unknown_user_is_not_created_if_the_configured_team_is_missing(
    page: Page, start_sso: StartSso
) -> None:
    server, _ = start_sso("--oidc-join", "nowhere:MEMBER")
    open_provider(page, server)
    at_provider.log_in(page, "eve")
    assert_refused(page, "The team that new users join does not exist")
    with open_accounts(server) as accounts:
        assert accounts.users.find("eve@example.com") is None


def test_unverified_email_address_is_refused(page: Page, server: Server) -> None:
    create_user(server, "unverified-eve@example.com")
    open_provider(page, server)
    at_provider.log_in(page, "unverified-eve")
    assert_refused(page, "has not verified your email address")


def test_disabled_user_is_refused(page: Page, server: Server) -> None:
    user = create_user(server, "disabled@example.com")
    with open_accounts(server) as accounts:
        accounts.users.disable(user)
    open_provider(page, server)
    at_provider.log_in(page, "disabled")
    assert_refused(page, "is disabled")


def test_cancelled_login_starts_no_session(page: Page, server: Server) -> None:
    open_provider(page, server)
    at_provider.cancel(page)
    assert_refused(page, "Signing in with Acme ID was cancelled.")


def test_callback_is_accepted_once(server: Server) -> None:
    with browser_user(server) as user:
        callback = callback_url(user, "dora")
        assert user.get(callback).headers["location"] == "/"
        user.http.cookies.delete("hitrate_session")
        assert "This login has expired" in rejected_callback(user, callback)


def test_callback_is_accepted_only_in_the_browser_that_started_the_login(server: Server) -> None:
    with browser_user(server) as user, browser_user(server) as other, browser_user(server) as third:
        callback = callback_url(user, "mallory")
        other.get("/login")  # gives this browser a cookie of its own
        assert "began in another browser" in rejected_callback(other, callback)
        # A failed attempt uses up the state, too.
        assert "This login has expired" in rejected_callback(user, callback)
        assert "began in another browser" in rejected_callback(third, callback_url(user, "mallory"))


@pytest.mark.parametrize(
    "changes", [{"state": "guessed"}, {"code": "guessed"}, {"code": ""}, {"iss": "http://evil"}]
)
def test_callback_with_changed_parameters_is_rejected(
    server: Server, changes: dict[str, str]
) -> None:
    with browser_user(server) as user:
        rejected_callback(user, with_changes(callback_url(user, "dora"), **changes))


def test_code_of_another_login_is_rejected(server: Server) -> None:
    with browser_user(server) as user, browser_user(server) as other:
        [code] = parse_qs(urlsplit(callback_url(other, "mallory")).query)["code"]
        injected = with_changes(callback_url(user, "dora"), code=code)
        assert "rejected the login" in rejected_callback(user, injected)


def test_each_login_starts_a_new_session(server: Server) -> None:
    with browser_user(server) as user:
        user.http.cookies.set("hitrate_session", "planted", domain="127.0.0.1", path="/")
        user.get(callback_url(user, "dora"))
        first = user.http.cookies.get("hitrate_session", domain="127.0.0.1")
        user.get(callback_url(user, "dora"))
        second = user.http.cookies.get("hitrate_session", domain="127.0.0.1")
        assert len({"planted", first, second}) == 3
    with browser_user(server) as user:
        user.http.cookies.set("hitrate_session", str(first), domain="127.0.0.1", path="/")
        assert user.get("/account").status_code == 303


def test_secrets_are_not_logged(page: Page, server: Server, provider: ProviderProcess) -> None:
    callbacks: list[str] = []
    page.on("request", lambda r: callbacks.append(r.url) if "/callback?" in r.url else None)
    open_provider(page, server)
    at_provider.log_in(page, "dora")
    page.wait_for_url(f"{server.url}/teams/*")
    query = parse_qs(urlsplit(callbacks[0]).query)
    cookies = [c.get("value", "") for c in page.context.cookies(server.url)]
    for hidden in (query["code"][0], query["state"][0], provider.client_secret, *cookies):
        assert hidden not in server.log


def test_new_key_of_the_provider_is_fetched_after_its_restart(
    page: Page, start_sso: StartSso, browser: Browser
) -> None:
    server, provider = start_sso()
    open_provider(page, server)
    at_provider.log_in(page, "dora")
    page.wait_for_url(f"{server.url}/teams/*")
    provider.stop()
    provider.start()
    second_page = browser.new_page()
    open_provider(second_page, server)
    at_provider.log_in(second_page, "dora")
    second_page.wait_for_url(f"{server.url}/teams/*")


def test_unreachable_provider_responds_503_with_a_page(page: Page, start_sso: StartSso) -> None:
    server, provider = start_sso()
    provider.stop()
    response = page.goto(f"{server.url}/login/sso")
    assert response is not None
    assert (response.status, response.headers["retry-after"]) == (503, "30")
    assert_refused(page, "not responding correctly")
    provider.start()
    with browser_user(server) as user:
        callback = callback_url(user, "dora")
        provider.stop()  # between login and callback
        assert "not responding correctly" in rejected_callback(user, callback)


def test_rejected_client_secret_responds_503_with_a_page(page: Page, start_sso: StartSso) -> None:
    server, _ = start_sso("--oidc-client-secret", "another")
    open_provider(page, server)
    at_provider.log_in(page, "dora")
    assert_refused(page, "rejected this server's client id and secret")


def test_callback_url_uses_the_public_url(
    start_sso: StartSso,
) -> None:
    server, _ = start_sso("--public-url", "https://cache.example.com")
    with browser_user(server) as user:
        location = user.get("/login/sso").headers["location"]
    query = parse_qs(urlsplit(location).query)
    assert query["redirect_uri"] == ["https://cache.example.com/login/sso/callback"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["openid email profile"]


def team_consent_path(team: str = "web", target: str = TURBO_URL) -> str:
    query = {"teamId": team, "mode": "login", "next": target, "state": "S"}
    return f"/api/auth/sso?{urlencode(query)}"


def test_turbo_login_at_the_provider_sends_a_verification_token_after_consent(
    page: Page, server: Server, listener: CallbackListener
) -> None:
    page.goto(server.url + team_consent_path(target=listener.url))
    at_provider.log_in(page, "dora")
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{listener.url}/**")
    [query] = listener.queries
    assert query["email"] == ["dora@example.com"]
    assert query["state"] == ["S"]
    response = httpx.get(
        f"{server.url}/registration/verify", params={"token": query["token"][0], "tokenName": "t"}
    )
    assert response.status_code == 200
    teams = server.request("GET", "/v2/teams", token=response.json()["token"]).json()
    assert [team["id"] for team in teams["teams"]] == [response.json()["teamId"]]


def test_turbo_login_at_the_provider_is_refused_to_users_outside_the_team(
    page: Page, server: Server
) -> None:
    page.goto(server.url + team_consent_path("default"))
    at_provider.log_in(page, "dora")
    assert "is not in the team 'default'" in page.get_by_role("alert").inner_text()


def test_concurrent_logins_have_different_states(server: Server) -> None:
    locations: list[str] = []

    def start() -> None:
        with browser_user(server) as user:
            locations.append(user.get("/login/sso").headers["location"])

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({parse_qs(urlsplit(one).query)["state"][0] for one in locations}) == 8


def test_single_sign_on_does_not_exist_without_a_provider(shared_server: Server) -> None:
    with browser_user(shared_server) as user:
        assert "sso" not in user.get("/login").text
        assert user.get("/login/sso").status_code == 404
