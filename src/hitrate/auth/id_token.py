"""Verification of ID tokens: signature, issuer, audience, times, nonce, and a verified address."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, SecurityWarning
from joserfc.jwk import KeySet

from hitrate import log
from hitrate.errors import Forbidden

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
_LEEWAY_S = 60
_MAX_NAME_LENGTH = 100

# joserfc deprecates the name EdDSA in favor of Ed25519, which providers do not use yet.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

_log = log.get_logger("login")


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
