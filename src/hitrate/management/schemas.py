"""How teams, members and tokens are shown: the same by the API and by commands. Pure."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hitrate.auth.models import Scope, Token
from hitrate.billing.quotas import STATUS, State
from hitrate.clock import iso
from hitrate.teams.models import Member, Role, Team
from hitrate.teams.settings import Count, TeamSettings


def iso_or_none(at_ms: int | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if at_ms is None else iso(at_ms)


class TeamInfo(msgspec.Struct, rename="camel"):
    """`state` says what shuts the cache; `status` is what `turbo` is told."""

    id: str
    slug: str
    name: str
    created_at: str
    state: State
    status: str


def team_info(team: Team, state: State) -> TeamInfo:
    """How a team is shown."""
    created = iso(team.created_at_ms)
    return TeamInfo(team.id, team.slug, team.name, created, state, STATUS[state])


class SettingsInfo(msgspec.Struct, rename="camel"):
    """`requests_per_minute`: null is no limit."""

    name: str
    remote_caching: bool
    requests_per_minute: int | None
    state: State
    status: str


class SettingsPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be changed; the rest stays."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    remote_caching: bool | UnsetType = UNSET
    requests_per_minute: Count | UnsetType | None = UNSET


def settings_info(team: Team, state: State) -> SettingsInfo:
    """How a team's switches stand."""
    settings = team.settings
    return SettingsInfo(
        team.name, settings.remote_caching, settings.requests_per_minute, state, STATUS[state]
    )


def apply_settings(patch: SettingsPatch, settings: TeamSettings) -> TeamSettings:
    """The settings with what the patch names."""
    changed = {
        name: value
        for name in ("remote_caching", "requests_per_minute")
        if (value := getattr(patch, name)) is not UNSET
    }
    return msgspec.structs.replace(settings, **changed)


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
