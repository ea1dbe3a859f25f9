"""OpenID Connect relying party: discovery, and the authorization code flow with PKCE.

No error and no log line contains a code, a token or the client secret.

ID tokens are verified: signature, issuer, audience, times, nonce, and a verified email address.
"""

import base64
import hashlib
import re
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote_plus

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, SecurityWarning
from joserfc.jwk import KeySet

from hitrate import log
from hitrate.clock import Clock
from hitrate.errors import Forbidden, ServiceUnavailable
from hitrate.http.redirects import with_query

_SCOPE = "openid email profile"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_DISCOVERY_TTL_MS = 10 * 60 * 1000
_RETRY_AFTER_S = 30

_log = log.get_logger("login")

Document = TypeVar("Document", bound=msgspec.Struct)

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
_LEEWAY_S = 60
_MAX_NAME_LENGTH = 100

# joserfc deprecates the name EdDSA in favor of Ed25519, which providers do not use yet.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)


class UnknownKey(Exception):  # caught by OidcProvider
    """The token is signed with a key that is not in the key set."""


class OidcIdentity(msgspec.Struct):
    """A user as the provider identifies them."""

    email: str
    name: str | None


def import_keys(published: Iterable[Any]) -> KeySet:
    """Import the provider's keys, except keys of unsupported types."""
    keys = []
    for key in published:
        try:
            keys += KeySet.import_key_set({"keys": [key]}).keys
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return KeySet(keys)


def verify_claims(
    id_token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, now_s: int
) -> Mapping[str, Any]:
    """Verify a token and return its claims. Raises UnknownKey or Forbidden."""
    try:
        token = jwt.decode(id_token, keys, algorithms=ALGORITHMS)
        jwt.JWTClaimsRegistry(
            now=now_s,
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": issuer},
            sub={"essential": True},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(token.claims)
    except InvalidKeyIdError as error:
        raise UnknownKey from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise invalid_id_token(type(error).__name__) from error
    # A token with several audiences must name the one it was issued to.
    has_audiences = isinstance(token.claims["aud"], list) and len(token.claims["aud"]) > 1
    if token.claims.get("azp", None if has_audiences else client_id) != client_id:
        raise invalid_id_token("it was issued to another client")
    return token.claims


def identity_from_claims(claims: Mapping[str, Any]) -> OidcIdentity:
    """Read the identity from verified claims.

    Raises Forbidden if there is no email address, or if the provider has not verified it.
    """
    email, verified, name = claims.get("email"), claims.get("email_verified"), claims.get("name")
    if not isinstance(email, str) or not email:
        raise Forbidden("The identity provider sent no email address.")
    if verified is False or verified == "false":
        raise Forbidden(
            "The identity provider has not verified your email address. Verify it there, then "
            "sign in again."
        )
    if not isinstance(name, str) or not name.isprintable():
        return OidcIdentity(email, None)
    return OidcIdentity(email, name if 1 <= len(name.strip()) <= _MAX_NAME_LENGTH else None)


def invalid_id_token(reason: str) -> Forbidden:
    """Log why an ID token is rejected, and create the error for the user."""
    _log.warning("an ID token was rejected", reason=reason)
    return Forbidden("The identity provider's response could not be verified. Start again.")


class Discovery(msgspec.Struct):
    """The provider's discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class OidcTokenResponse(msgspec.Struct):
    """The response of the token endpoint."""

    id_token: str


class PublishedKeys(msgspec.Struct):
    """The provider's key set (JWKS)."""

    keys: list[Any]


class OidcProvider:
    """An identity provider. Safe to use from several threads.

    Methods raise ServiceUnavailable if the provider cannot be reached, is misconfigured or does not
    know this server, and Forbidden if its response cannot be verified.
    """

    def __init__(self, issuer: str, client_id: str, client_secret: str, clock: Clock) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._discovery: tuple[Discovery, int] | None = None
        self._keys: KeySet | None = None

    def authorization_url(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Return the URL of the provider's login page; `verifier` is the PKCE code verifier."""
        challenge = hashlib.sha256(verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": _SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return with_query(self._discover().authorization_endpoint, parameters)

    def authenticate(
        self, code: str, redirect_uri: str, *, nonce: str, verifier: str, issuer: str | None
    ) -> OidcIdentity:
        """Exchange an authorization code for the verified identity of the user.

        `issuer` is the `iss` parameter of the callback, if the provider sent one.
        """
        discovery = self._discover()
        if issuer is not None and issuer != discovery.issuer:
            raise invalid_id_token("the callback names another issuer")
        id_token = self._exchange(discovery, code, redirect_uri, verifier)
        return identity_from_claims(self._verified_claims(discovery, id_token, nonce))

    def _exchange(self, discovery: Discovery, code: str, redirect_uri: str, verifier: str) -> str:
        # RFC 6749 2.3.1: both are form-encoded before they become user name and password.
        auth = (quote_plus(self._client_id), quote_plus(self._client_secret))
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        response = _request("POST", discovery.token_endpoint, auth=auth, data=form)
        if response.status_code in (400, 401):
            error = _error_code(response)
            _log.warning("the provider rejected the code", error=error)
            if response.status_code == 401 or error == "invalid_client":
                raise ServiceUnavailable(
                    "The identity provider rejected this server's client id and secret. "
                    "Ask the operator to correct them."
                )
            raise Forbidden("The identity provider rejected the login. Start again.")
        return _decode(response, OidcTokenResponse).id_token

    def _verified_claims(
        self, discovery: Discovery, id_token: str, nonce: str
    ) -> Mapping[str, Any]:
        verify = partial(
            verify_claims,
            id_token,
            issuer=discovery.issuer,
            client_id=self._client_id,
            nonce=nonce,
            now_s=self._clock.now_ms() // 1000,
        )
        try:
            return verify(self._keys or self._fetch_keys(discovery))
        except UnknownKey:
            _log.info("the provider uses a new key")
        try:
            return verify(self._fetch_keys(discovery))
        except UnknownKey as error:
            raise invalid_id_token("its key is unknown") from error

    def _discover(self) -> Discovery:
        now_ms, cached = self._clock.now_ms(), self._discovery
        if cached is not None and abs(now_ms - cached[1]) < _DISCOVERY_TTL_MS:
            return cached[0]
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        discovery = _decode(_request("GET", url), Discovery)
        if discovery.issuer.rstrip("/") != self._issuer.rstrip("/"):
            _log.warning("the provider has another issuer", issuer=discovery.issuer)
            raise ServiceUnavailable(
                "The identity provider does not match the configured issuer. "
                "Ask the operator to correct it."
            )
        self._discovery = discovery, now_ms
        return discovery

    def _fetch_keys(self, discovery: Discovery) -> KeySet:
        published = _decode(_request("GET", discovery.jwks_uri), PublishedKeys)
        self._keys = import_keys(published.keys)
        return self._keys


def _request(method: str, url: str, **options: Any) -> httpx.Response:
    """Send a request; the response has status 200, or for POST also 400 or 401."""
    headers = {"accept": "application/json"}
    try:
        with httpx.Client(timeout=_TIMEOUT) as http:
            response = http.request(method, url, headers=headers, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _log.warning("the provider cannot be reached", reason=type(error).__name__)
        raise provider_unavailable() from error
    if response.status_code != 200 and not (
        method == "POST" and response.status_code in (400, 401)
    ):
        _log.warning("the provider failed", status=response.status_code)
        raise provider_unavailable()
    return response


def _decode(response: httpx.Response, document_type: type[Document]) -> Document:
    try:
        return msgspec.json.decode(response.content, type=document_type)
    except msgspec.DecodeError as error:
        _log.warning("the provider sent an invalid response", reason=type(error).__name__)
        raise provider_unavailable() from error


def _error_code(response: httpx.Response) -> str:
    """Return the OAuth error code of a response, if it is safe to log."""
    try:
        error = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return "none"
    return error if re.fullmatch(r"[a-z_]{1,40}", error) else "other"


def provider_unavailable() -> ServiceUnavailable:
    """Create the error for a provider that is down or sends invalid responses."""
    return ServiceUnavailable(
        "The identity provider is not responding correctly. Try again later.", _RETRY_AFTER_S
    )
