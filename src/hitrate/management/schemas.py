"""How teams, members and tokens are shown: the same by the API and by commands. Pure."""

import msgspec

from hitrate.auth.models import Scope, Token
from hitrate.billing.quotas import CACHE_STATUS, TeamState
from hitrate.clock import iso
from hitrate.money import format_money
from hitrate.roles import Role
from hitrate.teams.models import Member, Team
from hitrate.teams.settings import Limits


def iso_or_none(at_ms: int | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if at_ms is None else iso(at_ms)


class TeamInfo(msgspec.Struct, rename="camel"):
    """`state` says what shuts the cache; `status` is what `turbo` is told."""

    id: str
    slug: str
    name: str
    created_at: str
    state: TeamState
    status: str


def team_info(team: Team, state: TeamState) -> TeamInfo:
    """How a team is shown."""
    created = iso(team.created_at_ms)
    return TeamInfo(team.id, team.slug, team.name, created, state, CACHE_STATUS[state])


class SettingsInfo(msgspec.Struct, rename="camel"):
    """`requests_per_minute`: null is no limit."""

    name: str
    remote_caching: bool
    requests_per_minute: int | None
    state: TeamState
    status: str


def settings_info(team: Team, state: TeamState) -> SettingsInfo:
    """How a team's switches stand."""
    settings = team.settings
    return SettingsInfo(
        team.name, settings.remote_caching, settings.requests_per_minute, state, CACHE_STATUS[state]
    )


class MemberInfo(msgspec.Struct, rename="camel"):
    """A person in a team; `remote_caching` false shuts the cache for them alone."""

    user_id: str
    email: str
    username: str
    name: str
    role: Role
    remote_caching: bool
    disabled: bool
    since: str


def member_info(member: Member) -> MemberInfo:
    """What others of the team see."""
    user = member.user
    return MemberInfo(
        user.id,
        user.email,
        user.username,
        user.name,
        member.role,
        member.remote_caching,
        user.disabled_at_ms is not None,
        iso(member.created_at_ms),
    )


class TokenInfo(msgspec.Struct, rename="camel"):
    """A token without its secret. `state`: valid, expired or revoked."""

    id: str
    label: str
    team: str | None
    user: str | None
    scopes: list[Scope]
    state: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


def token_info(token: Token, now_ms: int) -> TokenInfo:
    """What may be shown of a token."""
    state = "revoked" if token.revoked_at_ms is not None else "expired"
    return TokenInfo(
        id=token.id,
        label=token.label,
        team=token.team.slug if token.team else None,
        user=token.user.email if token.user else None,
        scopes=sorted(token.scopes),
        state="valid" if token.valid_at(now_ms) else state,
        created_at=iso(token.created_at_ms),
        expires_at=iso_or_none(token.expires_at_ms),
        revoked_at=iso_or_none(token.revoked_at_ms),
        last_used_at=iso_or_none(token.used_at_ms),
    )


class CycleInfo(msgspec.Struct):
    """`day` of the month on which cycles begin, at 00:00 UTC; `start` and `end` of this one."""

    day: int
    start: str
    end: str


class BillingInfo(msgspec.Struct, rename="camel"):
    """Money as text in the currency; a null limit or cap is none."""

    cycle: CycleInfo
    limits: Limits
    currency: str
    prices: dict[str, str]
    spend_cap: str | None
    paused_since: str | None
    soft_blocked: bool
    payment_missing: bool
    state: TeamState
    status: str


def billing_info(team: Team, state: TeamState, now_ms: int) -> BillingInfo:
    """What a team may use and pays."""
    settings = team.settings
    cycle = settings.cycle.at(now_ms)
    prices: dict[str, int] = msgspec.to_builtins(settings.prices)
    return BillingInfo(
        cycle=CycleInfo(settings.cycle.day, iso(cycle.start_ms), iso(cycle.end_ms)),
        limits=settings.limits,
        currency=settings.currency,
        prices={name: format_money(price) for name, price in prices.items()},
        spend_cap=None if settings.spend_cap is None else format_money(settings.spend_cap),
        paused_since=iso_or_none(settings.paused_at_ms),
        soft_blocked=settings.soft_blocked,
        payment_missing=settings.payment_missing,
        state=state,
        status=CACHE_STATUS[state],
    )
