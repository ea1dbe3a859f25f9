"""What the forms of the settings page do: the same changes as the API's, by the same functions."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from hitrate.auth.models import Permission, Scope, Token
from hitrate.errors import BadRequest, NotFound
from hitrate.http.forms import Form
from hitrate.pages.context import MEASURES, Dashboard, Visit
from hitrate.pages.token_forms import SCOPE_DESCRIPTIONS, parse_token_fields
from hitrate.roles import Role
from hitrate.teams.settings import (
    COUNT_MOST,
    BillingPatch,
    SettingsPatch,
    apply_billing,
    apply_settings,
)
from hitrate.teams.store import validate_name
from hitrate.units import parse_size

SCOPES_OFFERED = {
    scope: text for scope, text in SCOPE_DESCRIPTIONS.items() if scope is not Scope.ADMIN
}
"""A token of a team uses the cache; managing the team is for people, or for `hitrate token`."""

PRICES = {
    "uploaded_gb": "a GB uploaded",
    "downloaded_gb": "a GB downloaded",
    "stored_gb": "a GB stored for a cycle",
    "million_requests": "a million requests",
    "million_events": "a million events",
}

Change = Callable[[Visit, Form], str]
"""Applies a form and returns the notice to show. Raises RequestError; nothing changed then."""


class Changes:
    """Looked up by the last part of a form's address."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._accounts = dashboard.office.accounts
        self._clock = dashboard.clock
        self.parts: dict[str, tuple[Permission, str, Change]] = {
            "team": (Permission.SETTINGS, "team", self._team),
            "limits": (Permission.BILLING, "limits", self._limits),
            "add-member": (Permission.MEMBERS, "members", self._add_member),
            "change-member": (Permission.MEMBERS, "members", self._change_member),
            "remove-member": (Permission.MEMBERS, "members", self._remove_member),
            "revoke-token": (Permission.TOKENS, "tokens", self._revoke_token),
        }

    def make_token(self, visit: Visit, form: Form) -> tuple[Token, str]:
        """A token of the team, and its secret. Raises BadRequest."""
        fields = parse_token_fields(form, SCOPES_OFFERED)
        return self._accounts.tokens.create(
            visit.team,
            fields.label,
            scopes=fields.scopes,
            lifetime_s=fields.lifetime_s,
            actor=visit.actor,
        )

    def _team(self, visit: Visit, form: Form) -> str:
        rate = _count(form.one("requests_per_minute"), "Requests a minute")
        name = validate_name(form.one("name").strip())
        patch = SettingsPatch(
            remote_caching=form.one("remote_caching") == "on", requests_per_minute=rate
        )
        self._accounts.teams.change(
            visit.team,
            lambda settings: apply_settings(patch, settings),
            visit.actor,
            "settings.change",
            name=name,
        )
        return "team"

    def _limits(self, visit: Visit, form: Form) -> str:
        limits = {name: _limit(form.one(name), name) for name in MEASURES}
        prices = {name: form.one(f"price_{name}").strip() or "0" for name in PRICES}
        changes = {
            "limits": {wire_name(name): value for name, value in limits.items()},
            "prices": {wire_name(name): value for name, value in prices.items()},
            "currency": form.one("currency").strip().upper(),
            "spendCap": form.one("spend_cap").strip() or None,
            "cycleDay": _count(form.one("cycle_day"), "The cycle's day") or 0,
        }
        now_ms = self._clock.now_ms()
        with _as_the_form_has_it():
            patch = msgspec.convert(changes, BillingPatch)
            self._accounts.teams.change(
                visit.team,
                lambda settings: apply_billing(patch, settings, now_ms),
                visit.actor,
                "billing.change",
            )
        return "limits"

    def _add_member(self, visit: Visit, form: Form) -> str:
        user = self._accounts.users.get(form.one("email"))
        self._accounts.members.add(visit.team, user, _role(form), visit.actor)
        return "member-added"

    def _change_member(self, visit: Visit, form: Form) -> str:
        self._accounts.members.change(
            visit.team,
            form.one("user"),
            visit.actor,
            role=_role(form),
            remote_caching=form.one("remote_caching") == "on",
        )
        return "member-changed"

    def _remove_member(self, visit: Visit, form: Form) -> str:
        self._accounts.members.remove(visit.team, form.one("user"), visit.actor)
        return "member-removed"

    def _revoke_token(self, visit: Visit, form: Form) -> str:
        for token in self._accounts.tokens.list_for_team(visit.team):
            if token.id == form.one("token"):
                self._accounts.tokens.revoke(token, visit.actor)
                return "revoked"
        raise NotFound("This team has no such token.")


def _role(form: Form) -> Role:
    try:
        return Role(form.one("role"))
    except ValueError as error:
        raise BadRequest("Choose a role.") from error


def _limit(text: str, name: str) -> int | None:
    """A limit as it is typed: empty for none, `200 GB` of bytes. Raises BadRequest."""
    digits = text.strip().replace(",", "")
    if not name.endswith("_bytes") or digits.isdecimal() or not digits:
        return _count(text, MEASURES[name])
    shown = f"{MEASURES[name]}: {text[:40]!r}"
    try:
        size = parse_size(digits)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{shown} is no size; write 1500, 200 MB or 4 GiB.") from error
    if size > COUNT_MOST:
        raise BadRequest(f"{shown} is more than there can be.")
    return size


def _count(text: str, name: str) -> int | None:
    text = text.strip().replace(",", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadRequest(f"{name}: {text[:40]!r} is no whole number; leave it empty for none.")
    return int(text)


def wire_name(name: str) -> str:
    """`spendCap` for `spend_cap`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


_TITLES = {
    "$.currency": "The currency",
    "$.spendCap": "The spend cap",
    "$.cycleDay": "The cycle's day",
    **{f"$.prices.{wire_name(name)}": f"The price of {title}" for name, title in PRICES.items()},
}


@contextmanager
def _as_the_form_has_it() -> Iterator[None]:
    """Refusals call fields as the form does. Raises BadRequest."""
    try:
        yield
    except (msgspec.ValidationError, BadRequest) as error:
        text = re.sub(r"\$[\w.]+", lambda found: _TITLES.get(found[0], found[0]), str(error))
        raise BadRequest(text) from error
