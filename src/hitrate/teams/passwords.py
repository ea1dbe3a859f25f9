"""Passwords: what is kept is an argon2id hash. Checking one takes a core for some milliseconds,
on purpose; so it never happens on the event loop, and few at a time."""

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from hitrate.errors import BadRequest

_LEAST = 10
_MOST = 1024
_AT_ONCE = threading.BoundedSemaphore(2)

_hasher = PasswordHasher()


@cache
def _nobodys() -> str:
    """Checked when there is nothing to check: an unknown address takes as long as a known one."""
    return _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """What to keep. Raises BadRequest for one that is too short or too long."""
    if not _LEAST <= len(password) <= _MOST or not _is_text(password):
        raise BadRequest(f"A password has {_LEAST} to {_MOST} characters; choose another.")
    with _AT_ONCE:
        return _hasher.hash(password)


def password_matches(kept: str | None, password: str) -> bool:
    """Whether this is the password. Takes as long when there is none."""
    possible = len(password) <= _MOST and _is_text(password)
    with _AT_ONCE:
        nobodys = _nobodys()  # for known addresses too: the first of either takes longer
        try:
            _hasher.verify(nobodys if kept is None else kept, password if possible else "")
        except (VerificationError, InvalidHashError):
            return False
    return kept is not None and possible


def _is_text(password: str) -> bool:
    """Whether it has bytes: half a surrogate pair has none."""
    try:
        password.encode()
    except UnicodeEncodeError:
        return False
    return True
