"""Forms that create a token, on the account page and on a team's settings page."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from hitrate.auth.models import Scope, Token
from hitrate.errors import BadRequest
from hitrate.http.forms import Form

SCOPE_DESCRIPTIONS = {
    Scope.READ: "download from the cache",
    Scope.WRITE: "upload to the cache",
    Scope.EVENTS: "record usage events",
    Scope.ANALYTICS: "view events and usage",
    Scope.ADMIN: "manage teams and your account, within your roles",
}
DEFAULT_LIFETIME_DAYS = 90
_MAX_LIFETIME_DAYS = 36500
_DAY_S = 86400.0


class TokenFields(NamedTuple):
    """The fields that both forms share."""

    label: str
    scopes: list[Scope]
    lifetime_s: float | None


def parse_token_fields(form: Form, allowed_scopes: Collection[Scope]) -> TokenFields:
    """Read the fields of a new token. Raises BadRequest."""
    try:
        scopes = [Scope(scope) for scope in form.many("scopes")]
    except ValueError as error:
        raise BadRequest("Unknown permission.") from error
    if not scopes or not set(scopes) <= set(allowed_scopes):
        raise BadRequest("Select at least one permission.")
    return TokenFields(form.one("label").strip(), scopes, _parse_days(form.one("days").strip()))


def split_by_validity(tokens: Iterable[Token], now_ms: int) -> tuple[list[Token], list[Token]]:
    """Split tokens into valid ones, and ones that have expired or were revoked."""
    valid: list[Token] = []
    inactive: list[Token] = []
    for token in tokens:
        (valid if token.valid_at(now_ms) else inactive).append(token)
    return valid, inactive


def _parse_days(text: str) -> float | None:
    """Convert days to seconds; an empty text means no expiry."""
    if not text:
        return None
    # Check the length first: int() refuses numbers of thousands of digits with another error.
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_LIFETIME_DAYS))
    if not (is_number and 1 <= int(text) <= _MAX_LIFETIME_DAYS):
        raise BadRequest(
            f"Enter the days as a whole number from 1 to {_MAX_LIFETIME_DAYS}, or leave the field "
            "empty for no expiry."
        )
    return int(text) * _DAY_S
