"""Forms of the settings page. Each applies its change with the same function as the API."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import Permission, Scope, Token
from hitrate.clock import Clock
from hitrate.errors import BadRequest, NotFound
from hitrate.http.forms import Form
from hitrate.pages.context import MEASURE_LABELS, PageContext
from hitrate.pages.token_forms import SCOPE_DESCRIPTIONS, parse_token_fields
from hitrate.roles import Role
from hitrate.teams.settings import (
    MAX_COUNT,
    BillingPatch,
    LimitsPatch,
    PricesPatch,
    SettingsPatch,
    apply_billing,
    apply_settings,
)
from hitrate.units import parse_size

TEAM_SCOPES = {
    scope: text for scope, text in SCOPE_DESCRIPTIONS.items() if scope is not Scope.ADMIN
}
"""The scopes that the page offers for team tokens; `hitrate token` can also grant `admin`."""

PRICES = {
    "uploaded_gb": "GB uploaded",
    "downloaded_gb": "GB downloaded",
    "stored_gb": "GB stored for a cycle",
    "million_requests": "million requests",
    "million_events": "million events",
}
"""The unit of each price, as it follows the word *per*."""

_LIMIT_FIELDS = {field.name: field.encode_name for field in msgspec.structs.fields(LimitsPatch)}
PRICE_FIELDS = {field.name: field.encode_name for field in msgspec.structs.fields(PricesPatch)}
"""The JSON name of each price."""

_MAX_DIGITS = 18


class SettingsForm(NamedTuple):
    """A form of the page: the permission to submit it, its section, and the change it makes.

    `apply` returns the key of the notice to display. If it raises BadRequest or NotFound, nothing
    was changed.
    """

    permission: Permission
    section: str
    apply: Callable[[AccountStore, Clock, PageContext, Form], str]


def create_token(accounts: AccountStore, context: PageContext, form: Form) -> tuple[Token, str]:
    """Create a team token and return it with its secret. Raises BadRequest."""
    fields = parse_token_fields(form, TEAM_SCOPES)
    return accounts.tokens.create(
        context.team,
        fields.label,
        scopes=fields.scopes,
        lifetime_s=fields.lifetime_s,
        actor=context.actor,
    )


def _change_team(accounts: AccountStore, _clock: Clock, context: PageContext, form: Form) -> str:
    rate = _parse_count(form.one("requests_per_minute"), "Rate limit")
    patch = SettingsPatch(
        remote_caching=form.one("remote_caching") == "on", requests_per_minute=rate
    )
    accounts.teams.change(
        context.team,
        lambda settings: apply_settings(patch, settings),
        context.actor,
        "settings.change",
        name=form.one("name").strip(),
    )
    return "team"


def _change_billing(accounts: AccountStore, clock: Clock, context: PageContext, form: Form) -> str:
    limits = {_LIMIT_FIELDS[name]: _parse_limit(form.one(name), name) for name in MEASURE_LABELS}
    prices = {PRICE_FIELDS[name]: form.one(f"price_{name}").strip() or "0" for name in PRICES}
    changes = {
        "limits": limits,
        "prices": prices,
        "currency": form.one("currency").strip().upper(),
        "spendCap": form.one("spend_cap").strip() or None,
        "cycleDay": _parse_count(form.one("cycle_day"), "Cycle start day") or 0,
    }
    now_ms = clock.now_ms()
    with _field_labels_in_errors():
        patch = msgspec.convert(changes, BillingPatch)
        accounts.teams.change(
            context.team,
            lambda settings: apply_billing(patch, settings, now_ms),
            context.actor,
            "billing.change",
        )
    return "limits"


def _add_member(accounts: AccountStore, _clock: Clock, context: PageContext, form: Form) -> str:
    user = accounts.users.get(form.one("email"))
    accounts.members.add(context.team, user, _parse_role(form), context.actor)
    return "member-added"


def _change_member(accounts: AccountStore, _clock: Clock, context: PageContext, form: Form) -> str:
    accounts.members.change(
        context.team,
        form.one("user"),
        context.actor,
        role=_parse_role(form),
        remote_caching=form.one("remote_caching") == "on",
    )
    return "member-changed"


def _remove_member(accounts: AccountStore, _clock: Clock, context: PageContext, form: Form) -> str:
    accounts.members.remove(context.team, form.one("user"), context.actor)
    return "member-removed"


def _revoke_token(accounts: AccountStore, _clock: Clock, context: PageContext, form: Form) -> str:
    for token in accounts.tokens.list_for_team(context.team):
        if token.id == form.one("token"):
            accounts.tokens.revoke(token, context.actor)
            return "token-revoked"
    raise NotFound("This team has no such token.")


FORMS: Mapping[str, SettingsForm] = {
    "team": SettingsForm(Permission.SETTINGS, "team", _change_team),
    "limits": SettingsForm(Permission.BILLING, "limits", _change_billing),
    "add-member": SettingsForm(Permission.MEMBERS, "members", _add_member),
    "change-member": SettingsForm(Permission.MEMBERS, "members", _change_member),
    "remove-member": SettingsForm(Permission.MEMBERS, "members", _remove_member),
    "revoke-token": SettingsForm(Permission.TOKENS, "tokens", _revoke_token),
}
"""By the last segment of the URL that the form is sent to."""


def _parse_role(form: Form) -> Role:
    try:
        return Role(form.one("role"))
    except ValueError as error:
        raise BadRequest("Choose a role.") from error


def _parse_limit(text: str, name: str) -> int | None:
    """Parse a limit; None for an empty field. Bytes may have a unit. Raises BadRequest."""
    size_text = text.strip().replace(",", "")
    if not name.endswith("_bytes") or size_text.isdecimal() or not size_text:
        return _parse_count(text, MEASURE_LABELS[name])
    field = f"{MEASURE_LABELS[name]}: {text[:40]!r}"
    try:
        size = parse_size(size_text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{field} is not a size. Enter 1500, 200 MB or 4 GiB.") from error
    if size > MAX_COUNT:
        raise BadRequest(f"{field} is too large.")
    return size


def _parse_count(text: str, label: str) -> int | None:
    """Parse a count; None for an empty field. Raises BadRequest."""
    digits = text.strip().replace(",", "")
    if not digits:
        return None
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS):
        raise BadRequest(f"{label}: {digits[:40]!r} is not a whole number.")
    return int(digits)


_FIELD_LABELS = {
    "$.currency": "Currency",
    "$.spendCap": "Spend cap",
    "$.cycleDay": "Cycle start day",
    **{f"$.prices.{PRICE_FIELDS[name]}": f"Price per {unit}" for name, unit in PRICES.items()},
}


@contextmanager
def _field_labels_in_errors() -> Iterator[None]:
    """Replace JSON paths in errors by the labels of the form's fields. Raises BadRequest."""
    try:
        yield
    except (msgspec.ValidationError, BadRequest) as error:
        text = re.sub(r"\$[\w.]+", lambda match: _FIELD_LABELS.get(match[0], match[0]), str(error))
        raise BadRequest(text) from error
