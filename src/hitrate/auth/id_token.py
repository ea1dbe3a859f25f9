"""ID tokens: believed only when signature, issuer, audience, times and nonce are all right."""

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

# Its new name is Ed25519, which providers do not use yet.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

_log = log.get_logger("auth")


class UnknownKey(Exception):  # never leaves this room
    """The token names a key that is not among those known."""


class OidcIdentity(msgspec.Struct):
    """Whom the provider vouches for."""

    email: str
    name: str | None


def usable_keys(published: Iterable[Any]) -> KeySet:
    """The keys of a provider; those of kinds that we do not know are none of our business."""
    keys = []
    for key in published:
        try:
            keys += KeySet.import_key_set({"keys": [key]}).keys
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return KeySet(keys)


def verified_claims(
    id_token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, now_s: int
) -> Mapping[str, Any]:
    """What the token says. Raises UnknownKey, or Forbidden when anything about it is wrong."""
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
    # A token for several parties says which of them it was made for.
    several = isinstance(token.claims["aud"], list) and len(token.claims["aud"]) > 1
    if token.claims.get("azp", None if several else client_id) != client_id:
        raise invalid_id_token("it is for another party")
    return token.claims


def identity_of(claims: Mapping[str, Any]) -> OidcIdentity:
    """Raises Forbidden without an address, or with one that nobody verified."""
    email, verified, name = claims.get("email"), claims.get("email_verified"), claims.get("name")
    if not isinstance(email, str) or not email:
        raise Forbidden("The identity provider told no e-mail address, so nobody is signed in.")
    if verified is False or verified == "false":
        raise Forbidden(
            "The identity provider has not verified your e-mail address: verify it there, then "
            "sign in again."
        )
    fits = isinstance(name, str) and 1 <= len(name.strip()) <= 100 and name.isprintable()
    return OidcIdentity(email, str(name) if fits else None)


def invalid_id_token(reason: str) -> Forbidden:
    """The refusal; the reason is for the log."""
    _log.warning("an ID token is refused", reason=reason)
    return Forbidden("What the identity provider said could not be verified; start again.")
