"""The form of tokens and ids. Pure: no storage, no clock.

A token is `hr_`, 32 random base-62 characters (190 bits) and 6 that are their CRC-32, so that
secret scanners recognise one and a mistyped one is refused without a look at the database.
"""

import hashlib
import zlib

from hitrate.ids import ALPHABET, random_text

_PREFIX = "hr_"
_RANDOM = 32
_CHECK = 6


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def new_secret() -> str:
    """A new token, to be shown once."""
    body = random_text(_RANDOM)
    return _PREFIX + body + _checksum(body)


def well_formed(secret: bytes) -> bool:
    """Whether the bytes have a token's form and checksum."""
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        return False
    body, check = text[len(_PREFIX) : -_CHECK], text[-_CHECK:]
    return text.startswith(_PREFIX) and len(body) == _RANDOM and _checksum(body) == check


def digest(secret: bytes) -> bytes:
    """What is kept of a token. Plain SHA-256 is right here: 190 random bits cannot be guessed."""
    return hashlib.sha256(secret).digest()
