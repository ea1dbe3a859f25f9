"""An OpenID Connect provider, as a relying party sees it: discovery, and the code flow with PKCE.

Codes, tokens and the secret are in no error and no log.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote_plus

import httpx
import msgspec
from joserfc.jwk import KeySet

from hitrate import log
from hitrate.auth.id_token import (
    OidcIdentity,
    UnknownKey,
    identity_of,
    invalid_id_token,
    usable_keys,
    verified_claims,
)
from hitrate.clock import Clock
from hitrate.errors import Forbidden, ServiceUnavailable
from hitrate.http.redirects import with_query

_SCOPE = "openid email profile"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_REMEMBER_MS = 10 * 60 * 1000

_log = log.get_logger("auth")

Form = TypeVar("Form")


class Discovery(msgspec.Struct):
    """Where a provider says that everything is."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class Answer(msgspec.Struct):
    """What the token endpoint gives for a code."""

    id_token: str


class Published(msgspec.Struct):
    """The provider's keys."""

    keys: list[Any]


class OidcProvider:
    """Safe to use from several threads. Raises ServiceUnavailable when the provider is out of
    reach or does not know this server, Forbidden when what it says cannot be believed."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, clock: Clock) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._discovery: tuple[Discovery, int] | None = None
        self._keys: KeySet | None = None

    def authorization_url(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Where a person signs in."""
        challenge = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": _SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return with_query(self._discover().authorization_endpoint, asked)

    def authenticate(
        self, code: str, redirect_uri: str, *, nonce: str, verifier: str, issuer: str | None
    ) -> OidcIdentity:
        """Who signed in. `issuer` is who the answer says that it is from, if it does."""
        discovery = self._discover()
        if issuer is not None and issuer != discovery.issuer:
            raise invalid_id_token("the answer names another issuer")
        id_token = self._exchange(discovery, code, redirect_uri, verifier)
        return identity_of(self._claims(discovery, id_token, nonce))

    def _exchange(self, discovery: Discovery, code: str, redirect_uri: str, verifier: str) -> str:
        # RFC 6749 2.3.1: both are form-encoded before they become a user and a password.
        auth = (quote_plus(self._client_id), quote_plus(self._client_secret))
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        response = _ask("POST", discovery.token_endpoint, auth=auth, data=form)
        if response.status_code in (400, 401):
            error = _error_of(response)
            _log.warning("the provider gave no token", error=error)
            if response.status_code == 401 or error == "invalid_client":
                raise ServiceUnavailable(
                    "The identity provider does not accept this server's client id and secret; "
                    "its operator can put that right."
                )
            raise Forbidden("The identity provider took the sign-in back; start again.")
        return _decoded(response, Answer).id_token

    def _claims(self, discovery: Discovery, id_token: str, nonce: str) -> Mapping[str, Any]:
        verified = partial(
            verified_claims,
            id_token,
            issuer=discovery.issuer,
            client_id=self._client_id,
            nonce=nonce,
            now_s=self._clock.now_ms() // 1000,
        )
        try:
            return verified(self._keys or self._fetch_keys(discovery))
        except UnknownKey:
            _log.info("the provider has new keys")
        try:
            return verified(self._fetch_keys(discovery))
        except UnknownKey as error:
            raise invalid_id_token("its key is unknown") from error

    def _discover(self) -> Discovery:
        now_ms, known = self._clock.now_ms(), self._discovery
        if known is not None and abs(now_ms - known[1]) < _REMEMBER_MS:
            return known[0]
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = _decoded(_ask("GET", url), Discovery)
        if found.issuer.rstrip("/") != self._issuer.rstrip("/"):
            _log.warning("the provider has another issuer", issuer=found.issuer)
            raise ServiceUnavailable("The identity provider is not the one that is configured.")
        self._discovery = found, now_ms
        return found

    def _fetch_keys(self, discovery: Discovery) -> KeySet:
        published = _decoded(_ask("GET", discovery.jwks_uri), Published)
        self._keys = usable_keys(published.keys)
        return self._keys


def _ask(method: str, url: str, **options: Any) -> httpx.Response:
    headers = {"accept": "application/json"}
    try:
        with httpx.Client(timeout=_TIMEOUT) as http:
            response = http.request(method, url, headers=headers, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _log.warning("the provider does not answer", reason=type(error).__name__)
        raise provider_unavailable() from error
    if response.status_code != 200 and not (
        method == "POST" and response.status_code in (400, 401)
    ):
        _log.warning("the provider fails", status=response.status_code)
        raise provider_unavailable()
    return response


def _decoded(response: httpx.Response, form: type[Form]) -> Form:
    try:
        return msgspec.json.decode(response.content, type=form)
    except msgspec.DecodeError as error:
        _log.warning("the provider is not understood", reason=type(error).__name__)
        raise provider_unavailable() from error


def _error_of(response: httpx.Response) -> str:
    try:
        error = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return "none"
    return error if re.fullmatch(r"[a-z_]{1,40}", error) else "other"


def provider_unavailable() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The identity provider does not answer as it should; try again later.", 30
    )
