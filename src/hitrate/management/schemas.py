"""Response schemas of teams, members, tokens and billing, shared by the API and commands."""

import msgspec

from hitrate.auth.models import Scope, Token
from hitrate.billing.quotas import CACHE_STATUS, TeamState
from hitrate.clock import iso
from hitrate.money import format_money
from hitrate.roles import Role
from hitrate.teams.models import Member, Team
from hitrate.teams.settings import Limits


class TeamResponse(msgspec.Struct, rename="camel"):
    """A team. `state` is why its cache is blocked, `status` is what `turbo` receives."""

    id: str
    slug: str
    name: str
    created_at: str
    state: TeamState
    status: str

    @classmethod
    def from_team(cls, team: Team, state: TeamState) -> "TeamResponse":
        return cls(
            team.id, team.slug, team.name, iso(team.created_at_ms), state, CACHE_STATUS[state]
        )


class TeamSettingsResponse(msgspec.Struct, rename="camel"):
    """Settings of a team. Null `requests_per_minute` is no limit."""

    name: str
    remote_caching: bool
    requests_per_minute: int | None
    state: TeamState
    status: str

    @classmethod
    def from_team(cls, team: Team, state: TeamState) -> "TeamSettingsResponse":
        settings = team.settings
        return cls(
            team.name,
            settings.remote_caching,
            settings.requests_per_minute,
            state,
            CACHE_STATUS[state],
        )


class MemberResponse(msgspec.Struct, rename="camel"):
    """A member of a team. False `remote_caching` blocks the cache for this member only."""

    user_id: str
    email: str
    username: str
    name: str
    role: Role
    remote_caching: bool
    disabled: bool
    since: str

    @classmethod
    def from_member(cls, member: Member) -> "MemberResponse":
        user = member.user
        return cls(
            user.id,
            user.email,
            user.username,
            user.name,
            member.role,
            member.remote_caching,
            user.disabled_at_ms is not None,
            iso(member.created_at_ms),
        )


class TokenResponse(msgspec.Struct, rename="camel"):
    """A token without its secret. `state` is `valid`, `expired` or `revoked`."""

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

    @classmethod
    def from_token(cls, token: Token, now_ms: int) -> "TokenResponse":
        state = "revoked" if token.revoked_at_ms is not None else "expired"
        return cls(
            id=token.id,
            label=token.label,
            team=token.team.slug if token.team else None,
            user=token.user.email if token.user else None,
            scopes=sorted(token.scopes),
            state="valid" if token.valid_at(now_ms) else state,
            created_at=iso(token.created_at_ms),
            expires_at=_iso_or_none(token.expires_at_ms),
            revoked_at=_iso_or_none(token.revoked_at_ms),
            last_used_at=_iso_or_none(token.used_at_ms),
        )


class CreatedTokenResponse(TokenResponse, kw_only=True):
    """A new token with its secret in `token`, which is never returned again."""

    token: str

    @classmethod
    def from_secret(cls, token: Token, secret: str) -> "CreatedTokenResponse":
        response = TokenResponse.from_token(token, token.created_at_ms)
        return cls(**msgspec.structs.asdict(response), token=secret)


class TokenListResponse(msgspec.Struct):
    """Tokens, oldest first."""

    tokens: list[TokenResponse]


class BillingCycleResponse(msgspec.Struct):
    """The current billing cycle. `day` of the month on which cycles begin, at 00:00 UTC."""

    day: int
    start: str
    end: str


class BillingResponse(msgspec.Struct, rename="camel"):
    """Limits, prices and payment of a team.

    Money is decimal text in the currency. A null limit or spend cap is none.
    """

    cycle: BillingCycleResponse
    limits: Limits
    currency: str
    prices: dict[str, str]
    spend_cap: str | None
    paused_since: str | None
    soft_blocked: bool
    payment_missing: bool
    state: TeamState
    status: str

    @classmethod
    def from_team(cls, team: Team, state: TeamState, now_ms: int) -> "BillingResponse":
        settings = team.settings
        cycle = settings.cycle.at(now_ms)
        prices: dict[str, int] = msgspec.to_builtins(settings.prices)
        return cls(
            cycle=BillingCycleResponse(settings.cycle.day, iso(cycle.start_ms), iso(cycle.end_ms)),
            limits=settings.limits,
            currency=settings.currency,
            prices={name: format_money(price) for name, price in prices.items()},
            spend_cap=None if settings.spend_cap is None else format_money(settings.spend_cap),
            paused_since=_iso_or_none(settings.paused_at_ms),
            soft_blocked=settings.soft_blocked,
            payment_missing=settings.payment_missing,
            state=state,
            status=CACHE_STATUS[state],
        )


def _iso_or_none(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)
