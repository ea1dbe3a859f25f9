"""The identity provider of the tests itself: the whole login flow, without hitrate."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from playwright.sync_api import Page

from tests.support.browser import Browser, console_errors
from tests.support.browser_fixtures import StartProvider
from tests.support.callback_listener import CallbackListener
from tests.support.oidc_provider import ProviderProcess, cancel, log_in


@dataclass
class Flow:
    """One login, as a relying party performs it."""

    provider: ProviderProcess
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
        # RFC 6749 2.3.1: both are form-encoded before they become user name and password.
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
        """Verify an ID token with the provider's current keys and return its claims."""
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
def flow(start_provider: StartProvider, listener: CallbackListener) -> Flow:
    callback_url = f"{listener.url}/callback"
    return Flow(start_provider(callback_url), callback_url)


def log_in_for_code(page: Page, flow: Flow, listener: CallbackListener, login: str) -> str:
    """Log in at the provider and return the code in the callback."""
    page.goto(flow.start_url())
    log_in(page, login)
    assert page.url.startswith(listener.url)
    query = listener.queries.pop()
    assert query["state"] == [flow.state]
    assert query["iss"] == [flow.provider.url]
    [code] = query["code"]
    return code


def test_login_returns_a_code_that_is_exchanged_for_an_id_token(
    page: Page, flow: Flow, listener: CallbackListener
) -> None:
    code = log_in_for_code(page, flow, listener, "dora")
    tokens = flow.exchange(code)
    assert tokens.status_code == 200, tokens.text
    claims = flow.claims(tokens.json()["id_token"])
    assert claims["sub"] == "dora"
    assert claims["email"] == "dora@example.com"
    assert claims["email_verified"] is True
    assert claims["name"] == "Dora"
    assert console_errors(page) == []


@pytest.mark.parametrize(
    ("login", "email", "verified"),
    [
        ("unverified-eve", "unverified-eve@example.com", False),
        ("Finn@example.org", "Finn@example.org", True),
    ],
)
def test_login_name_determines_the_email_claims(
    page: Page, flow: Flow, listener: CallbackListener, login: str, email: str, verified: bool
) -> None:
    tokens = flow.exchange(log_in_for_code(page, flow, listener, login)).json()
    claims = flow.claims(tokens["id_token"])
    assert (claims["email"], claims["email_verified"]) == (email, verified)


def test_provider_session_skips_the_login_page_in_the_same_browser(
    browser: Browser, page: Page, flow: Flow, listener: CallbackListener
) -> None:
    log_in_for_code(page, flow, listener, "dora")
    page.goto(flow.start_url())
    assert page.url.startswith(listener.url)
    other = browser.new_page()
    other.goto(flow.start_url())
    assert other.url.startswith(flow.provider.url)


def test_cancel_returns_an_error_without_a_code(
    page: Page, flow: Flow, listener: CallbackListener
) -> None:
    page.goto(flow.start_url())
    cancel(page)
    [query] = listener.queries
    assert query["error"] == ["access_denied"]
    assert query["state"] == [flow.state]
    assert "code" not in query


def test_code_is_accepted_once(page: Page, flow: Flow, listener: CallbackListener) -> None:
    code = log_in_for_code(page, flow, listener, "dora")
    assert flow.exchange(code).status_code == 200
    assert flow.exchange(code).json()["error"] == "invalid_grant"


def test_code_requires_its_verifier_and_the_client_secret(
    page: Page, flow: Flow, listener: CallbackListener
) -> None:
    code = log_in_for_code(page, flow, listener, "dora")
    assert flow.exchange(code, secret="guessed").json()["error"] == "invalid_client"
    guessed = flow.exchange(code, verifier=secrets.token_urlsafe(48))
    assert guessed.json()["error"] == "invalid_grant"


def test_unregistered_redirect_uri_is_rejected(page: Page, flow: Flow) -> None:
    response = page.goto(flow.start_url(redirect_uri="http://127.0.0.1:1/callback"))
    assert response is not None
    assert response.status == 400
    assert "redirect_uri" in page.inner_text("body")


def test_id_token_is_not_valid_with_the_key_of_a_restarted_provider(
    page: Page, flow: Flow, listener: CallbackListener
) -> None:
    tokens = flow.exchange(log_in_for_code(page, flow, listener, "dora")).json()
    flow.claims(tokens["id_token"])
    flow.provider.stop()
    flow.provider.start()
    with pytest.raises(InvalidKeyIdError):
        flow.claims(tokens["id_token"])
