"""Signing in at an identity provider, a real one, in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from hitrate.roles import Role
from tests.support import oidc_provider as at_provider
from tests.support.browser import Browser, errors_of
from tests.support.browser_user import Visitor, accounts_of, add_person, visitor
from tests.support.callback_listener import Listener
from tests.support.node_packages import Clients
from tests.support.oidc_provider import Provider
from tests.support.server import Server

TURBO = "http://127.0.0.1:9789"
CALLBACK = "/login/sso/callback"
StartBoth = Callable[..., tuple[Server, Provider]]


@pytest.fixture(scope="module")
def start_both(packages: Clients, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartBoth]:
    """Starts a server and the provider that its people sign in with; ends them."""
    running: list[tuple[Server, Provider]] = []

    def start(*options: str) -> tuple[Server, Provider]:
        folder = tmp_path_factory.mktemp("sso")
        server = Server(folder / "data")
        provider = Provider(packages, folder / "provider.log", server.url + CALLBACK)
        running.append((server, provider))
        server.options = (
            *("--oidc-issuer", provider.url, "--oidc-name", "Acme ID"),
            *("--oidc-client-id", provider.client_id),
            *("--oidc-client-secret", provider.client_secret),
            *options,
        )
        provider.start()
        server.start()
        add_person(server, "dora@example.com", "web", password=None)
        return server, provider

    yield start
    for server, provider in running:
        server.kill()
        provider.stop()


@pytest.fixture(scope="module")
def both(start_both: StartBoth) -> tuple[Server, Provider]:
    return start_both()


@pytest.fixture
def server(both: tuple[Server, Provider]) -> Server:
    return both[0]


@pytest.fixture
def provider(both: tuple[Server, Provider]) -> Provider:
    return both[1]


def begin(page: Page, server: Server, path: str = "/login") -> None:
    """Up to the provider's page."""
    page.goto(server.url + path)
    page.get_by_role("link", name="Sign in with Acme ID").click()


def way_back(someone: Visitor, login: str) -> str:
    """Sign in at the provider without a browser; the address with its answer."""
    location = someone.get("/login/sso").headers["location"]
    return at_provider.sign_in_without_browser(location, login, CALLBACK)


def changed(url: str, **changes: str) -> str:
    """The address with other parameters."""
    parts = urlsplit(url)
    query = {name: value for name, [value] in parse_qs(parts.query).items()} | changes
    return parts._replace(query=urlencode(query)).geturl()


def turned_away(someone: Visitor, url: str) -> str:
    """What the page says that nobody gets past."""
    answer = someone.get(url)
    assert answer.status_code in (400, 403, 503)
    assert someone.cookie() is None
    return answer.text


def test_who_is_known_here_signs_in_at_the_provider(page: Page, server: Server) -> None:
    begin(page, server, "/login?next=/account%3Fdone%3Drevoked")
    at_provider.sign_in(page, "dora")
    page.wait_for_url(f"{server.url}/account?done=revoked")
    assert "dora@example.com" in page.inner_text("header")
    password = page.get_by_role("region", name="Password")
    assert "You sign in with Acme ID" in password.inner_text()
    assert password.get_by_role("button").count() == 0
    assert errors_of(page) == []


def test_a_session_of_the_provider_signs_out_like_any_other(page: Page, server: Server) -> None:
    begin(page, server)
    at_provider.sign_in(page, "dora")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{server.url}/login")


def refused(page: Page, text: str) -> None:
    assert text in page.get_by_role("alert").inner_text()
    assert "hitrate_session" not in {c["name"] for c in page.context.cookies()}


def test_strangers_stay_out_and_are_not_made(page: Page, server: Server) -> None:
    before = server.metric("hitrate_login_failures_total")
    begin(page, server)
    at_provider.sign_in(page, "eve")
    refused(page, "eve@example.com has no account on this server.")
    with accounts_of(server) as accounts:
        assert accounts.users.find("eve@example.com") is None
    assert server.metric("hitrate_login_failures_total") == before + 1


def test_strangers_join_where_the_operator_says_so(page: Page, start_both: StartBoth) -> None:
    server, _ = start_both("--oidc-join", "web:viewer")
    begin(page, server)
    at_provider.sign_in(page, "Finn@Example.org")
    page.wait_for_url(f"{server.url}/teams/*")
    with accounts_of(server) as accounts:
        finn = accounts.users.get("finn@example.org")
        [member] = accounts.members.list_for_user(finn)
        entries = accounts.audit.page(None, 2)
    assert (finn.name, finn.has_password) == ("Finn", False)
    assert (member.team.slug, member.role) == ("web", Role.VIEWER)
    assert [(e.actor_name, e.action) for e in entries] == [
        ("finn@example.org", "member.add"),
        ("single sign-on", "user.create"),
    ]


def test_a_team_to_join_that_is_not_there_makes_nobody(page: Page, start_both: StartBoth) -> None:
    server, _ = start_both("--oidc-join", "nowhere:MEMBER")
    begin(page, server)
    at_provider.sign_in(page, "eve")
    refused(page, "The team that new users join does not exist")
    with accounts_of(server) as accounts:
        assert accounts.users.find("eve@example.com") is None


def test_an_address_that_nobody_verified_is_nobodys(page: Page, server: Server) -> None:
    add_person(server, "unverified-eve@example.com")
    begin(page, server)
    at_provider.sign_in(page, "unverified-eve")
    refused(page, "has not verified your e-mail address")


def test_who_is_disabled_stays_out(page: Page, server: Server) -> None:
    user = add_person(server, "gone@example.com")
    with accounts_of(server) as accounts:
        accounts.users.disable(user)
    begin(page, server)
    at_provider.sign_in(page, "gone")
    refused(page, "is disabled")


def test_who_cancels_at_the_provider_is_not_signed_in(page: Page, server: Server) -> None:
    begin(page, server)
    at_provider.cancel(page)
    refused(page, "Signing in with Acme ID was cancelled.")


def test_an_answer_counts_once(server: Server) -> None:
    with visitor(server) as someone:
        back = way_back(someone, "dora")
        assert someone.get(back).headers["location"] == "/"
        someone.http.cookies.delete("hitrate_session")
        assert "This login has expired" in turned_away(someone, back)


def test_an_answer_counts_only_in_the_browser_that_began(server: Server) -> None:
    with visitor(server) as someone, visitor(server) as other, visitor(server) as third:
        back = way_back(someone, "mallory")
        other.get("/login")  # it has a cookie of its own
        assert "began in another browser" in turned_away(other, back)
        # Nor does a try that failed leave anything behind.
        assert "This login has expired" in turned_away(someone, back)
        assert "began in another browser" in turned_away(third, way_back(someone, "mallory"))


@pytest.mark.parametrize(
    "changes", [{"state": "guessed"}, {"code": "guessed"}, {"code": ""}, {"iss": "http://evil"}]
)
def test_an_answer_that_was_changed_is_refused(server: Server, changes: dict[str, str]) -> None:
    with visitor(server) as someone:
        turned_away(someone, changed(way_back(someone, "dora"), **changes))


def test_a_code_from_another_flow_does_not_fit(server: Server) -> None:
    with visitor(server) as someone, visitor(server) as other:
        [code] = parse_qs(urlsplit(way_back(other, "mallory")).query)["code"]
        injected = changed(way_back(someone, "dora"), code=code)
        assert "rejected the login" in turned_away(someone, injected)


def test_a_new_session_begins_at_each_sign_in(server: Server) -> None:
    with visitor(server) as someone:
        someone.http.cookies.set("hitrate_session", "planted", domain="127.0.0.1", path="/")
        someone.get(way_back(someone, "dora"))
        first = someone.http.cookies.get("hitrate_session", domain="127.0.0.1")
        someone.get(way_back(someone, "dora"))
        second = someone.http.cookies.get("hitrate_session", domain="127.0.0.1")
        assert len({"planted", first, second}) == 3
    with visitor(server) as someone:
        someone.http.cookies.set("hitrate_session", str(first), domain="127.0.0.1", path="/")
        assert someone.get("/account").status_code == 303


def test_nothing_that_is_secret_is_in_the_log(
    page: Page, server: Server, provider: Provider
) -> None:
    seen: list[str] = []
    page.on("request", lambda r: seen.append(r.url) if "/callback?" in r.url else None)
    begin(page, server)
    at_provider.sign_in(page, "dora")
    page.wait_for_url(f"{server.url}/teams/*")
    query = parse_qs(urlsplit(seen[0]).query)
    cookies = [c.get("value", "") for c in page.context.cookies(server.url)]
    for hidden in (query["code"][0], query["state"][0], provider.client_secret, *cookies):
        assert hidden not in server.log


def test_after_a_restart_of_the_provider_its_new_key_is_fetched(
    page: Page, start_both: StartBoth, browser: Browser
) -> None:
    server, provider = start_both()
    begin(page, server)
    at_provider.sign_in(page, "dora")
    page.wait_for_url(f"{server.url}/teams/*")
    provider.stop()
    provider.start()
    again = browser.new_page()
    begin(again, server)
    at_provider.sign_in(again, "dora")
    again.wait_for_url(f"{server.url}/teams/*")


def test_a_provider_that_is_down_is_a_page_that_says_so(page: Page, start_both: StartBoth) -> None:
    server, provider = start_both()
    provider.stop()
    answer = page.goto(f"{server.url}/login/sso")
    assert answer is not None
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    refused(page, "not responding correctly")
    provider.start()
    with visitor(server) as someone:
        back = way_back(someone, "dora")
        provider.stop()  # while somebody is on their way
        assert "not responding correctly" in turned_away(someone, back)


def test_a_provider_that_does_not_know_us_is_no_500(page: Page, start_both: StartBoth) -> None:
    server, _ = start_both("--oidc-client-secret", "another")
    begin(page, server)
    at_provider.sign_in(page, "dora")
    refused(page, "rejected this server's client id and secret")


def test_the_public_address_is_where_the_provider_sends_people_back(
    start_both: StartBoth,
) -> None:
    server, _ = start_both("--public-url", "https://cache.example.com")
    with visitor(server) as someone:
        location = someone.get("/login/sso").headers["location"]
    query = parse_qs(urlsplit(location).query)
    assert query["redirect_uri"] == ["https://cache.example.com/login/sso/callback"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["openid email profile"]


def sso(team: str = "web", target: str = TURBO) -> str:
    query = {"teamId": team, "mode": "login", "next": target, "state": "S"}
    return f"/api/auth/sso?{urlencode(query)}"


def test_for_turbo_the_sign_in_at_the_provider_leads_back_to_it_if_the_person_allows_it(
    page: Page, server: Server, listener: Listener
) -> None:
    page.goto(server.url + sso(target=listener.url))
    at_provider.sign_in(page, "dora")
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{listener.url}/**")
    [query] = listener.queries
    assert query["email"] == ["dora@example.com"]
    assert query["state"] == ["S"]
    answer = httpx.get(
        f"{server.url}/registration/verify", params={"token": query["token"][0], "tokenName": "t"}
    )
    assert answer.status_code == 200
    who = server.request("GET", "/v2/teams", token=answer.json()["token"]).json()
    assert [team["id"] for team in who["teams"]] == [answer.json()["teamId"]]


def test_for_turbo_too_only_members_get_anything(page: Page, server: Server) -> None:
    page.goto(server.url + sso("default"))
    at_provider.sign_in(page, "dora")
    assert "is not in the team 'default'" in page.get_by_role("alert").inner_text()


def test_many_may_be_on_their_way_at_once(server: Server) -> None:
    locations: list[str] = []

    def start() -> None:
        with visitor(server) as someone:
            locations.append(someone.get("/login/sso").headers["location"])

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({parse_qs(urlsplit(one).query)["state"][0] for one in locations}) == 8


def test_without_a_provider_there_is_no_way_to_one(shared_server: Server) -> None:
    with visitor(shared_server) as someone:
        assert "sso" not in someone.get("/login").text
        assert someone.get("/login/sso").status_code == 404
