"""Verification of ID tokens and provider responses, with a provider that sends forged ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from hitrate.auth.oidc import OidcIdentity, OidcProvider
from hitrate.clock import ManualClock
from hitrate.errors import Forbidden, ServiceUnavailable

Key = RSAKey | ECKey | OKPKey
NONCE = "the nonce"
SECRET = "a secret & its 100% special + signs"
CLOCK = ManualClock()
NOW_S = CLOCK.now_ms() // 1000


def rsa(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


RSA, OTHER_RSA = rsa("rsa"), rsa("rsa")
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


@dataclass
class ForgingProvider:
    """An identity provider whose responses a test can forge; it records its token requests."""

    claims: dict[str, Any] = field(default_factory=dict)
    published_keys: list[Any] = field(default_factory=lambda: [RSA, EC, ED])
    id_token: str | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    token_status: int = 200
    token_body: bytes | None = None
    url: str = ""
    token_requests: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    key_requests: int = 0

    def valid_claims(self) -> dict[str, Any]:
        return {
            "iss": self.url,
            "sub": "dora",
            "aud": "hitrate",
            "exp": NOW_S + 300,
            "iat": NOW_S,
            "nonce": NONCE,
            "email": "dora@example.com",
            "email_verified": True,
            "name": "Dora",
        }

    def sign(self, key: Key = RSA, alg: str = "RS256", **header: Any) -> str:
        claims = {n: v for n, v in (self.valid_claims() | self.claims).items() if v is not None}
        return jwt.encode({"alg": alg, "kid": key.kid, **header}, claims, key, algorithms=[alg])

    def respond(self, path: str) -> tuple[int, bytes]:
        if path.endswith("/openid-configuration"):
            document = {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/auth?tenant=1",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
            return 200, json.dumps(document | self.discovery).encode()
        if path == "/keys":
            self.key_requests += 1
            keys = [
                k if isinstance(k, (dict, str)) else k.as_dict(private=False)
                for k in self.published_keys
            ]
            return 200, json.dumps({"keys": keys}).encode()
        if self.token_body is not None:
            return self.token_status, self.token_body
        return 200, json.dumps({"id_token": self.id_token or self.sign()}).encode()


@pytest.fixture
def forger() -> Iterator[ForgingProvider]:
    forger = ForgingProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = forger.respond(self.path)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            forger.token_requests.append((self.headers["authorization"], parse_qs(form)))
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forger.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield forger
    server.shutdown()
    thread.join()
    server.server_close()


def create_provider(forger: ForgingProvider) -> OidcProvider:
    return OidcProvider(forger.url, "hitrate", SECRET, CLOCK)


def authenticate(forger: ForgingProvider, provider: OidcProvider | None = None) -> OidcIdentity:
    return (provider or create_provider(forger)).authenticate(
        "the code", "http://here/callback", nonce=NONCE, verifier="the verifier", issuer=None
    )


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")]
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_valid_token_is_accepted(forger: ForgingProvider, key: Key, alg: str) -> None:
    forger.id_token = forger.sign(key, alg)
    assert authenticate(forger) == OidcIdentity("dora@example.com", "Dora")


def test_code_is_exchanged_with_client_authentication(forger: ForgingProvider) -> None:
    authenticate(forger)
    [(authorization, form)] = forger.token_requests
    scheme, _, credentials = authorization.partition(" ")
    user, _, password = base64.b64decode(credentials).decode().partition(":")
    assert scheme == "Basic"
    assert (unquote_plus(user), unquote_plus(password)) == ("hitrate", SECRET)
    assert not {" ", "&", "%20 "} & set(password)
    assert form == {
        "grant_type": ["authorization_code"],
        "code": ["the code"],
        "redirect_uri": ["http://here/callback"],
        "code_verifier": ["the verifier"],
    }


WRONG_CLAIMS: list[dict[str, Any]] = [
    {"iss": "http://another"},
    {"iss": None},
    {"sub": None},
    {"aud": "another"},
    {"aud": ["another", "third"]},
    {"aud": ["hitrate", "another"]},
    {"aud": ["hitrate", "another"], "azp": "another"},
    {"aud": "hitrate", "azp": "another"},
    {"aud": None},
    {"exp": NOW_S - 61},
    {"exp": None},
    {"exp": "soon"},
    {"iat": NOW_S + 3600},
    {"iat": None},
    {"nonce": "another"},
    {"nonce": None},
]


@pytest.mark.parametrize("claims", WRONG_CLAIMS, ids=str)
def test_token_with_a_wrong_claim_is_rejected(
    forger: ForgingProvider, claims: dict[str, Any]
) -> None:
    forger.claims = claims
    with pytest.raises(Forbidden, match="could not be verified"):
        authenticate(forger)


@pytest.mark.parametrize(
    "claims", [{"aud": ["hitrate"]}, {"aud": ["hitrate", "x"], "azp": "hitrate"}], ids=str
)
def test_audience_may_be_a_list_that_names_this_client(
    forger: ForgingProvider, claims: dict[str, Any]
) -> None:
    forger.claims = claims
    assert authenticate(forger).email == "dora@example.com"


def encode_json(value: object) -> str:
    return encode_base64url(json.dumps(value).encode())


def encode_base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unsigned(forger: ForgingProvider) -> str:
    return f"{encode_json({'alg': 'none'})}.{encode_json(forger.valid_claims())}."


def signed_with_the_public_key(forger: ForgingProvider) -> str:
    """Sign by hand, because no library signs with a public key."""
    text = f"{encode_json({'alg': 'HS256', 'kid': 'rsa'})}.{encode_json(forger.valid_claims())}"
    key = RSA.as_pem(private=False)
    return f"{text}.{encode_base64url(hmac.digest(key, text.encode(), hashlib.sha256))}"


def with_changed_claims(forger: ForgingProvider) -> str:
    head, _, signature = forger.sign().split(".")
    return (
        f"{head}.{encode_json(forger.valid_claims() | {'email': 'root@example.com'})}.{signature}"
    )


FORGERIES: list[Callable[[ForgingProvider], str]] = [
    unsigned,
    signed_with_the_public_key,
    with_changed_claims,
    lambda forger: forger.sign(OTHER_RSA),
    lambda forger: forger.sign(rsa("unknown")),
    lambda forger: forger.sign(RSA, "RS512"),
    lambda _: "no token at all",
    lambda _: "a.b.c",
    lambda _: "..",
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_forged_token_is_rejected(
    forger: ForgingProvider, forge: Callable[[ForgingProvider], str]
) -> None:
    forger.id_token = forge(forger)
    with pytest.raises(Forbidden, match="could not be verified") as error_info:
        authenticate(forger)
    assert forger.id_token not in str(error_info.value)


def test_symmetric_key_in_the_key_set_is_ignored(forger: ForgingProvider) -> None:
    secret = OctKey.import_key("0" * 64, {"kid": "oct"})
    forger.published_keys = [secret.as_dict(private=True)]
    payload = json.dumps(forger.valid_claims()).encode()
    forger.id_token = jws.serialize_compact(
        {"alg": "HS256", "kid": "oct"}, payload, secret, algorithms=["HS256"]
    )
    with pytest.raises(Forbidden):
        authenticate(forger)


def test_unknown_key_makes_the_key_set_be_fetched_once(forger: ForgingProvider) -> None:
    provider = create_provider(forger)
    authenticate(forger, provider)
    authenticate(forger, provider)
    assert forger.key_requests == 1
    new = rsa("new")
    forger.published_keys, forger.id_token = [new], forger.sign(new)
    assert authenticate(forger, provider).email == "dora@example.com"
    assert forger.key_requests == 2
    forger.id_token = forger.sign(rsa("nowhere"))
    with pytest.raises(Forbidden):
        authenticate(forger, provider)
    assert forger.key_requests == 3


def test_unsupported_keys_are_ignored(forger: ForgingProvider) -> None:
    forger.published_keys = [{"kty": "new", "kid": "x"}, "no key", {}, RSA]
    assert authenticate(forger).email == "dora@example.com"


@pytest.mark.parametrize("verified", [False, "false"])
def test_unverified_email_address_is_rejected(forger: ForgingProvider, verified: object) -> None:
    forger.claims = {"email_verified": verified}
    with pytest.raises(Forbidden, match="not verified"):
        authenticate(forger)


@pytest.mark.parametrize("email", [None, "", 7])
def test_missing_email_address_is_rejected(forger: ForgingProvider, email: object) -> None:
    forger.claims = {"email": email}
    with pytest.raises(Forbidden, match="no email address"):
        authenticate(forger)


def test_email_verified_claim_is_optional(forger: ForgingProvider) -> None:
    forger.claims = {"email_verified": None, "name": "\x00"}
    assert authenticate(forger) == OidcIdentity("dora@example.com", None)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error": "invalid_grant"}', Forbidden),
        (400, b"no json", Forbidden),
        (401, b'{"error": "invalid_client"}', ServiceUnavailable),
        (400, b'{"error": "invalid_client"}', ServiceUnavailable),
        (200, b"no json", ServiceUnavailable),
        (200, b"{}", ServiceUnavailable),
        (500, b"", ServiceUnavailable),
        (302, b"", ServiceUnavailable),
    ],
)
def test_token_endpoint_failure_is_classified(
    forger: ForgingProvider, status: int, body: bytes, error: type[Exception]
) -> None:
    forger.token_status, forger.token_body = status, body
    with pytest.raises(error) as error_info:
        authenticate(forger)
    assert "the code" not in str(error_info.value)


@pytest.mark.parametrize(
    "document", [{"issuer": "http://another"}, {"token_endpoint": None}, {"jwks_uri": "nowhere"}]
)
def test_invalid_discovery_document_is_unavailable(
    forger: ForgingProvider, document: dict[str, Any]
) -> None:
    forger.discovery = document
    with pytest.raises(ServiceUnavailable):
        authenticate(forger)


def test_authorization_url_keeps_query_parameters_of_the_endpoint(forger: ForgingProvider) -> None:
    url = create_provider(forger).authorization_url(
        "http://here", state="s", nonce="n", verifier="v"
    )
    assert url.startswith(f"{forger.url}/auth?tenant=1&response_type=code&client_id=hitrate&")


def test_unreachable_provider_is_unavailable(forger: ForgingProvider) -> None:
    provider = OidcProvider("http://127.0.0.1:1", "hitrate", SECRET, CLOCK)
    with pytest.raises(ServiceUnavailable):
        authenticate(forger, provider)
