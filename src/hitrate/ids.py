"""Random identifiers."""

import secrets
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def random_text(length: int) -> str:
    """Return `length` random base-62 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_id(kind: str, length: int) -> str:
    """A new id, such as `team_…`: `turbo` sends a team's id only when it starts so."""
    return f"{kind}_{random_text(length)}"
