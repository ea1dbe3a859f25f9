"""The provider that signing in is tested with is a real one: the whole flow, without hitrate."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from playwright.sync_api import Page

from tests.support.browser import Browser, errors_of
from tests.support.browser_fixtures import StartProvider
from tests.support.oidc_provider import Provider, cancel, sign_in


class Listener:
    """Where the provider sends people back to; `answers` has what they bring."""

    def __init__(self) -> None:
        self.answers: list[dict[str, str]] = []
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == "/callback":
                    answers.append({name: first for name, [first] in parse_qs(parts.query).items()})
                self.send_response(200)
                self.send_header("content-type", "text/plain")
                self.end_headers()
                self.wfile.write(b"back")

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback"


@dataclass
class Flow:
    """One attempt to sign in, as a relying party makes it."""

    provider: Provider
    redirect_uri: str
    state: str = field(default_factory=secrets.token_urlsafe)
    nonce: str = field(default_factory=secrets.token_urlsafe)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def start_url(self, **changes: str) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "client_id": self.provider.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": "openid email profile",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{self.provider.discovery()['authorization_endpoint']}?{urlencode(query | changes)}"

    def exchange(
        self, code: str, *, secret: str | None = None, verifier: str = ""
    ) -> httpx.Response:
        # RFC 6749 2.3.1: both are form-encoded before they become a user and a password.
        user = quote(self.provider.client_id, safe="")
        password = quote(secret or self.provider.client_secret, safe="")
        return httpx.post(
            self.provider.discovery()["token_endpoint"],
            auth=(user, password),
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect_uri,
                "code_verifier": verifier or self.verifier,
            },
        )

    def claims(self, id_token: str) -> dict[str, Any]:
        """The claims of a token that holds against the provider's keys."""
        keys = httpx.get(self.provider.discovery()["jwks_uri"]).json()
        token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=["RS256"])
        jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self.provider.url},
            aud={"essential": True, "value": self.provider.client_id},
            nonce={"essential": True, "value": self.nonce},
            exp={"essential": True},
        ).validate(token.claims)
        return token.claims


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, args=[0.02])
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


@pytest.fixture
def flow(start_provider: StartProvider, listener: Listener) -> Flow:
    return Flow(start_provider(listener.url), listener.url)


def signed_in(page: Page, flow: Flow, listener: Listener, login: str) -> str:
    """The code with which somebody comes back."""
    page.goto(flow.start_url())
    sign_in(page, login)
    assert page.url.startswith(listener.url)
    answer = listener.answers.pop()
    assert answer["state"] == flow.state
    assert answer["iss"] == flow.provider.url
    return answer["code"]


def test_who_signs_in_comes_back_with_a_code_that_buys_a_token(
    page: Page, flow: Flow, listener: Listener
) -> None:
    code = signed_in(page, flow, listener, "dora")
    tokens = flow.exchange(code)
    assert tokens.status_code == 200, tokens.text
    claims = flow.claims(tokens.json()["id_token"])
    assert claims["sub"] == "dora"
    assert claims["email"] == "dora@example.com"
    assert claims["email_verified"] is True
    assert claims["name"] == "Dora"
    assert errors_of(page) == []


@pytest.mark.parametrize(
    ("login", "email", "verified"),
    [
        ("unverified-eve", "unverified-eve@example.com", False),
        ("Finn@example.org", "Finn@example.org", True),
    ],
)
def test_the_login_says_what_the_address_is_worth(
    page: Page, flow: Flow, listener: Listener, login: str, email: str, verified: bool
) -> None:
    tokens = flow.exchange(signed_in(page, flow, listener, login)).json()
    claims = flow.claims(tokens["id_token"])
    assert (claims["email"], claims["email_verified"]) == (email, verified)


def test_who_is_signed_in_at_the_provider_is_not_asked_again(
    browser: Browser, page: Page, flow: Flow, listener: Listener
) -> None:
    signed_in(page, flow, listener, "dora")
    page.goto(flow.start_url())
    assert page.url.startswith(listener.url)
    other = browser.new_page()
    other.goto(flow.start_url())
    assert other.url.startswith(flow.provider.url)


def test_who_says_no_comes_back_without_a_code(page: Page, flow: Flow, listener: Listener) -> None:
    page.goto(flow.start_url())
    cancel(page)
    [answer] = listener.answers
    assert answer["error"] == "access_denied"
    assert answer["state"] == flow.state
    assert "code" not in answer


def test_a_code_is_good_once(page: Page, flow: Flow, listener: Listener) -> None:
    code = signed_in(page, flow, listener, "dora")
    assert flow.exchange(code).status_code == 200
    assert flow.exchange(code).json()["error"] == "invalid_grant"


def test_a_code_is_worth_nothing_without_its_verifier_or_the_secret(
    page: Page, flow: Flow, listener: Listener
) -> None:
    code = signed_in(page, flow, listener, "dora")
    assert flow.exchange(code, secret="guessed").json()["error"] == "invalid_client"
    guessed = flow.exchange(code, verifier=secrets.token_urlsafe(48))
    assert guessed.json()["error"] == "invalid_grant"


def test_nobody_is_sent_to_an_address_that_is_not_the_clients(page: Page, flow: Flow) -> None:
    response = page.goto(flow.start_url(redirect_uri="http://127.0.0.1:1/callback"))
    assert response is not None
    assert response.status == 400
    assert "redirect_uri" in page.inner_text("body")


def test_a_token_from_before_a_restart_does_not_hold_against_the_new_key(
    page: Page, flow: Flow, listener: Listener
) -> None:
    tokens = flow.exchange(signed_in(page, flow, listener, "dora")).json()
    flow.claims(tokens["id_token"])
    flow.provider.stop()
    flow.provider.start()
    with pytest.raises(InvalidKeyIdError):
        flow.claims(tokens["id_token"])
