"""Password hashing with argon2id.

A hash takes a CPU core for some milliseconds on purpose. So it is never computed on the event loop,
and at most two are computed at a time.
"""

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from hitrate.errors import BadRequest

_MIN_LENGTH = 10
_MAX_LENGTH = 1024
_MAX_CONCURRENT_HASHES = 2

_hash_slots = threading.BoundedSemaphore(_MAX_CONCURRENT_HASHES)
_hasher = PasswordHasher()


@cache
def _dummy_hash() -> str:
    """Return a hash to verify for an unknown address, so that the response takes as long."""
    return _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """Return the hash to store. Raises BadRequest for a password of the wrong length."""
    if not _MIN_LENGTH <= len(password) <= _MAX_LENGTH or not _is_encodable(password):
        raise BadRequest(
            f"A password has {_MIN_LENGTH} to {_MAX_LENGTH} characters; choose another."
        )
    with _hash_slots:
        return _hasher.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Return whether the password has this hash. Takes as long if there is no hash."""
    possible = len(password) <= _MAX_LENGTH and _is_encodable(password)
    with _hash_slots:
        dummy = _dummy_hash()  # always, because the first call takes longer
        try:
            _hasher.verify(
                dummy if password_hash is None else password_hash, password if possible else ""
            )
        except (VerificationError, InvalidHashError):
            return False
    return password_hash is not None and possible


def _is_encodable(password: str) -> bool:
    """Return whether the password is valid Unicode, without lone surrogates."""
    try:
        password.encode()
    except UnicodeEncodeError:
        return False
    return True
