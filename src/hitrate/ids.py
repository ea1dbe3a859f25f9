"""Random identifiers."""

import secrets
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def random_text(length: int) -> str:
    """Return `length` random base-62 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_id(prefix: str, length: int) -> str:
    """Return a new id such as `team_…`. `turbo` sends a team id only if it has this prefix."""
    return f"{prefix}_{random_text(length)}"
