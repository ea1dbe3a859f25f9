"""What `turbo login` opens: a person lets turbo use the cache, and nothing goes anywhere else."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from hitrate.auth.models import Token
from hitrate.teams.models import OPERATOR
from tests.conftest import StartServer
from tests.support.browser import errors_of
from tests.support.browser_user import Visitor, accounts_of, add_person, fill_in, visitor
from tests.support.callback_listener import Listener
from tests.support.server import Server

TURBO = "http://127.0.0.1:9789"
ELSEWHERE = [
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
    """The address of somebody new, who is in two teams."""
    email = f"ann-{uuid.uuid4().hex}@example.com"
    return add_person(shared_server, email, "default", "web").email


def tokens_of(server: Server, email: str) -> list[Token]:
    with accounts_of(server) as accounts:
        return accounts.tokens.list_for_user(accounts.users.get(email))


def connect(path: str = "/turborepo/token", **query: str | None) -> str:
    return f"{path}?{urlencode({k: v for k, v in query.items() if v is not None})}"


def test_who_allows_it_sends_a_token_and_the_state_to_turbo(
    page: Page, shared_server: Server, ann: str, listener: Listener
) -> None:
    target = f"{listener.url}/here?kept=1&kept=2"
    page.goto(shared_server.url + connect(redirect_uri=target, state="S t+a/te"))
    fill_in(page, ann)
    page.get_by_role("heading", name="Let turbo on this computer use the cache as").wait_for()
    assert listener.url in page.inner_text("main")
    assert tokens_of(shared_server, ann) == []
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{listener.url}/**")
    [query] = listener.queries
    assert query.pop("kept") == ["1", "2"]
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
    assert errors_of(page) == []


def test_who_cancels_sends_nothing(
    page: Page, shared_server: Server, ann: str, listener: Listener
) -> None:
    page.goto(shared_server.url + connect(redirect_uri=listener.url))
    fill_in(page, ann)
    page.get_by_role("button", name="Cancel").click()
    assert "No token was sent" in page.get_by_role("status").inner_text()
    assert listener.queries == []
    assert tokens_of(shared_server, ann) == []


def allow(someone: Visitor, path: str) -> httpx.Response:
    return someone.post(path, someone.form_token(path), answer="allow")


def test_older_clients_send_no_state_and_get_none(shared_server: Server, ann: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        answer = allow(someone, connect(redirect_uri=TURBO))
    assert answer.status_code == 303
    assert set(parse_qs(urlsplit(answer.headers["location"]).query)) == {"token"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:9789", "LOCALHOST"])
def test_any_port_of_this_computer_will_do(shared_server: Server, ann: str, host: str) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        answer = allow(someone, connect(redirect_uri=f"http://{host}"))
    assert answer.headers["location"].startswith(f"http://{host}/?token=hr_")


def test_also_a_program_that_listens_on_ipv6_only_is_reached(
    page: Page, shared_server: Server, ann: str
) -> None:
    page.route("http://[::1]:9789/**", lambda route: route.fulfill(body="back"))
    page.goto(shared_server.url + connect(redirect_uri="http://[::1]:9789"))
    fill_in(page, ann)
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url("http://[::1]:9789/**")
    assert errors_of(page) == []


@pytest.mark.parametrize("signed_in", [False, True])
def test_a_token_goes_nowhere_else(shared_server: Server, ann: str, signed_in: bool) -> None:
    token = None
    with visitor(shared_server) as someone:
        if signed_in:
            someone.sign_in(ann)
            token = someone.form_token("/account")
        for target in ELSEWHERE:
            for path in (
                connect(redirect_uri=target, state="s"),
                connect("/api/auth/sso", teamId="default", next=target, state="s"),
            ):
                for answer in (someone.get(path), someone.post(path, token, answer="allow")):
                    if answer.status_code == 303:  # signed out, forms lead to the sign-in page
                        assert answer.headers["location"] == "/login"
                    else:
                        assert answer.status_code == 400, target
                        assert "on this computer" in answer.text
    assert tokens_of(shared_server, ann) == []


@pytest.mark.parametrize("path", ["/turborepo/token", "/api/auth/sso"])
def test_no_other_site_can_press_the_button(shared_server: Server, ann: str, path: str) -> None:
    where = connect(path, redirect_uri=TURBO, next=TURBO, teamId="default")
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        own = someone.form_token(where)
        for token, headers in (
            (None, {}),
            ("0" * 64, {}),
            (own, {"origin": "https://evil.example"}),
            (own, {"sec-fetch-site": "cross-site"}),
        ):
            assert someone.post(where, token, headers, answer="allow").status_code == 403
    assert tokens_of(shared_server, ann) == []


def test_the_lifetime_is_a_setting(start_server: StartServer) -> None:
    server = start_server("--login-token-ttl", "never")
    add_person(server, "ann@example.com", "default")
    with visitor(server) as someone:
        someone.sign_in("ann@example.com")
        path = connect(redirect_uri=TURBO)
        assert "Never; you can revoke it" in someone.get(path).text
        allow(someone, path)
    [token] = tokens_of(server, "ann@example.com")
    assert token.expires_at_ms is None


def verification_token(someone: Visitor, team: str = "default") -> str:
    answer = allow(someone, connect("/api/auth/sso", teamId=team, next=TURBO, state="S"))
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["state"] == ["S"]
    [[token]] = [query["token"]]
    return token


def verify(server: Server, **query: str) -> httpx.Response:
    return httpx.get(f"{server.url}/registration/verify", params=query)


def test_for_one_team_a_verification_token_buys_a_confined_token_once(
    shared_server: Server, ann: str
) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        token = verification_token(someone)
    answer = verify(shared_server, token=token, tokenName="Turbo\x00 CLI on vm\n" + "x" * 300)
    assert answer.status_code == 200
    with accounts_of(shared_server) as accounts:
        team = accounts.teams.find(slug="default")
    assert team is not None
    assert answer.json()["teamId"] == team.id
    [kept] = tokens_of(shared_server, ann)
    assert kept.team is not None
    assert kept.team.id == team.id
    assert kept.label == ("Turbo CLI on vm" + "x" * 300)[:200]
    again = verify(shared_server, token=token, tokenName="t")
    assert (again.status_code, again.json()["error"]["code"]) == (401, "unauthorized")
    assert again.json()["code"] == "unauthorized"
    assert len(tokens_of(shared_server, ann)) == 1


def test_a_verification_token_is_worth_nothing_to_who_lost_their_place(
    shared_server: Server, ann: str
) -> None:
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        of_team, of_person = verification_token(someone, "web"), verification_token(someone)
    with accounts_of(shared_server) as accounts:
        user, team = accounts.users.get(ann), accounts.teams.find(slug="web")
        assert team is not None
        accounts.members.remove(team, user.id, OPERATOR)
        assert verify(shared_server, token=of_team).status_code == 403
        accounts.users.disable(user)
        assert verify(shared_server, token=of_person).status_code == 401
    assert tokens_of(shared_server, ann) == []


def test_a_wrong_verification_token_is_refused(shared_server: Server) -> None:
    assert verify(shared_server, token="guessed").status_code == 401
    assert verify(shared_server).status_code == 400
    assert verify(shared_server, token="x" * 1000).status_code == 400


@pytest.mark.parametrize("team", ["nobodys", "strangers-of-ann", ""])
def test_who_is_not_in_the_team_is_told_so(shared_server: Server, ann: str, team: str) -> None:
    with accounts_of(shared_server) as accounts:
        if accounts.teams.find(slug="strangers-of-ann") is None:
            accounts.teams.create("strangers-of-ann")
    with visitor(shared_server) as someone:
        someone.sign_in(ann)
        answer = someone.get(connect("/api/auth/sso", teamId=team, next=TURBO, state="S"))
    assert answer.status_code == 403
    assert "is not in the team" in answer.text


def test_signed_out_one_signs_in_first_and_then_allows_it(
    page: Page, shared_server: Server, ann: str, listener: Listener
) -> None:
    with accounts_of(shared_server) as accounts:
        team = accounts.teams.find(slug="web")
    assert team is not None
    page.goto(
        shared_server.url
        + connect("/api/auth/sso", teamId=team.id, mode="login", next=listener.url, state="S")
    )
    fill_in(page, ann)
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{listener.url}/**")
    [query] = listener.queries
    assert query["email"] == [ann]
    assert query["state"] == ["S"]
    assert verify(shared_server, token=query["token"][0]).json()["teamId"] == team.id
    assert errors_of(page) == []
