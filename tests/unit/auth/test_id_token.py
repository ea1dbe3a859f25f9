"""ID tokens are believed only when everything about them is right: held to a provider that lies."""

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

from hitrate.auth.id_token import OidcIdentity
from hitrate.auth.oidc import OidcProvider
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
class Liar:
    """A provider that says whatever a test wants; `asked` has what its token endpoint was sent."""

    claims: dict[str, Any] = field(default_factory=dict)
    published: list[Any] = field(default_factory=lambda: [RSA, EC, ED])
    id_token: str | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    token_status: int = 200
    token_body: bytes | None = None
    url: str = ""
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    keys_fetched: int = 0

    def right_claims(self) -> dict[str, Any]:
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
        claims = {n: v for n, v in (self.right_claims() | self.claims).items() if v is not None}
        return jwt.encode({"alg": alg, "kid": key.kid, **header}, claims, key, algorithms=[alg])

    def answer(self, path: str) -> tuple[int, bytes]:
        if path.endswith("/openid-configuration"):
            document = {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/auth?kept=1",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
            return 200, json.dumps(document | self.discovery).encode()
        if path == "/keys":
            self.keys_fetched += 1
            keys = [
                k if isinstance(k, (dict, str)) else k.as_dict(private=False)
                for k in self.published
            ]
            return 200, json.dumps({"keys": keys}).encode()
        if self.token_body is not None:
            return self.token_status, self.token_body
        return 200, json.dumps({"id_token": self.id_token or self.sign()}).encode()


@pytest.fixture
def liar() -> Iterator[Liar]:
    liar = Liar()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = liar.answer(self.path)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            liar.asked.append((self.headers["authorization"], parse_qs(form)))
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    liar.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield liar
    server.shutdown()
    thread.join()
    server.server_close()


def provider_of(liar: Liar) -> OidcProvider:
    return OidcProvider(liar.url, "hitrate", SECRET, CLOCK)


def ask(liar: Liar, provider: OidcProvider | None = None) -> OidcIdentity:
    return (provider or provider_of(liar)).authenticate(
        "the code", "http://here/callback", nonce=NONCE, verifier="the verifier", issuer=None
    )


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")]
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_what_is_right_is_believed(liar: Liar, key: Key, alg: str) -> None:
    liar.id_token = liar.sign(key, alg)
    assert ask(liar) == OidcIdentity("dora@example.com", "Dora")


def test_the_code_is_exchanged_as_the_standard_says(liar: Liar) -> None:
    ask(liar)
    [(authorization, form)] = liar.asked
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
def test_a_claim_that_is_wrong_is_not_believed(liar: Liar, claims: dict[str, Any]) -> None:
    liar.claims = claims
    with pytest.raises(Forbidden, match="could not be verified"):
        ask(liar)


@pytest.mark.parametrize(
    "claims", [{"aud": ["hitrate"]}, {"aud": ["hitrate", "x"], "azp": "hitrate"}], ids=str
)
def test_an_audience_may_be_a_list_when_it_is_for_us(liar: Liar, claims: dict[str, Any]) -> None:
    liar.claims = claims
    assert ask(liar).email == "dora@example.com"


def part(value: object) -> str:
    return encoded(json.dumps(value).encode())


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unsigned(liar: Liar) -> str:
    return f"{part({'alg': 'none'})}.{part(liar.right_claims())}."


def signed_with_the_public_key(liar: Liar) -> str:
    """By hand: no library signs so."""
    text = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(liar.right_claims())}"
    key = RSA.as_pem(private=False)
    return f"{text}.{encoded(hmac.digest(key, text.encode(), hashlib.sha256))}"


def changed(liar: Liar) -> str:
    head, _, signature = liar.sign().split(".")
    return f"{head}.{part(liar.right_claims() | {'email': 'root@example.com'})}.{signature}"


FORGERIES: list[Callable[[Liar], str]] = [
    unsigned,
    signed_with_the_public_key,
    changed,
    lambda liar: liar.sign(OTHER_RSA),
    lambda liar: liar.sign(rsa("unknown")),
    lambda liar: liar.sign(RSA, "RS512"),
    lambda _: "no token at all",
    lambda _: "a.b.c",
    lambda _: "..",
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_token_is_not_believed(liar: Liar, forge: Callable[[Liar], str]) -> None:
    liar.id_token = forge(liar)
    with pytest.raises(Forbidden, match="could not be verified") as refused:
        ask(liar)
    assert liar.id_token not in str(refused.value)


def test_a_secret_that_is_published_as_a_key_is_none(liar: Liar) -> None:
    secret = OctKey.import_key("0" * 64, {"kid": "oct"})
    liar.published = [secret.as_dict(private=True)]
    payload = json.dumps(liar.right_claims()).encode()
    liar.id_token = jws.serialize_compact(
        {"alg": "HS256", "kid": "oct"}, payload, secret, algorithms=["HS256"]
    )
    with pytest.raises(Forbidden):
        ask(liar)


def test_a_key_that_is_new_is_fetched_once(liar: Liar) -> None:
    provider = provider_of(liar)
    ask(liar, provider)
    ask(liar, provider)
    assert liar.keys_fetched == 1
    new = rsa("new")
    liar.published, liar.id_token = [new], liar.sign(new)
    assert ask(liar, provider).email == "dora@example.com"
    assert liar.keys_fetched == 2
    liar.id_token = liar.sign(rsa("nowhere"))
    with pytest.raises(Forbidden):
        ask(liar, provider)
    assert liar.keys_fetched == 3


def test_keys_of_other_kinds_are_left_out(liar: Liar) -> None:
    liar.published = [{"kty": "new", "kid": "x"}, "no key", {}, RSA]
    assert ask(liar).email == "dora@example.com"


@pytest.mark.parametrize("verified", [False, "false"])
def test_an_unverified_address_is_refused(liar: Liar, verified: object) -> None:
    liar.claims = {"email_verified": verified}
    with pytest.raises(Forbidden, match="not verified"):
        ask(liar)


@pytest.mark.parametrize("email", [None, "", 7])
def test_an_address_is_needed(liar: Liar, email: object) -> None:
    liar.claims = {"email": email}
    with pytest.raises(Forbidden, match="no e-mail address"):
        ask(liar)


def test_whether_it_is_verified_may_be_left_out(liar: Liar) -> None:
    liar.claims = {"email_verified": None, "name": "\x00"}
    assert ask(liar) == OidcIdentity("dora@example.com", None)


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
def test_a_token_endpoint_that_fails_is_told_apart(
    liar: Liar, status: int, body: bytes, error: type[Exception]
) -> None:
    liar.token_status, liar.token_body = status, body
    with pytest.raises(error) as refused:
        ask(liar)
    assert "the code" not in str(refused.value)


@pytest.mark.parametrize(
    "document", [{"issuer": "http://another"}, {"token_endpoint": None}, {"jwks_uri": "nowhere"}]
)
def test_a_discovery_document_that_is_wrong_is_no_provider(
    liar: Liar, document: dict[str, Any]
) -> None:
    liar.discovery = document
    with pytest.raises(ServiceUnavailable):
        ask(liar)


def test_the_address_to_sign_in_at_keeps_what_it_has(liar: Liar) -> None:
    url = provider_of(liar).authorization_url("http://here", state="s", nonce="n", verifier="v")
    assert url.startswith(f"{liar.url}/auth?kept=1&response_type=code&client_id=hitrate&")


def test_nobody_there_is_unavailable(liar: Liar) -> None:
    provider = OidcProvider("http://127.0.0.1:1", "hitrate", SECRET, CLOCK)
    with pytest.raises(ServiceUnavailable):
        ask(liar, provider)
