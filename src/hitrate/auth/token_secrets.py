"""The format of token secrets. Pure.

A secret is `hr_`, 32 random base-62 characters (190 bits), and 6 characters that are their CRC-32.
So secret scanners recognize it, and a mistyped one is refused without a database lookup.
"""

import hashlib
import zlib

from hitrate.ids import ALPHABET, random_text

_PREFIX = "hr_"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def new_secret() -> str:
    """Generate a secret."""
    body = random_text(_RANDOM_LENGTH)
    return _PREFIX + body + _checksum(body)


def well_formed(secret: bytes) -> bool:
    """Return whether a secret has the right prefix, length and checksum."""
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        return False
    body, checksum = text[len(_PREFIX) : -_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
    has_form = text.startswith(_PREFIX) and len(body) == _RANDOM_LENGTH
    return has_form and _checksum(body) == checksum


def digest(secret: bytes) -> bytes:
    """Return the SHA-256 that is stored instead of the secret.

    A slow password hash is unnecessary: 190 random bits cannot be guessed.
    """
    return hashlib.sha256(secret).digest()
