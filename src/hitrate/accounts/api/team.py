"""A team and its switches: `/v1/teams/{team}` and `/settings`."""

from typing import Annotated

import msgspec
from litestar import Request, get, patch
from litestar.datastructures import State as _State
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Meta, UnsetType

from hitrate.accounts.api.office import Office
from hitrate.accounts.guard import grant_of
from hitrate.accounts.limits import STATUS, State
from hitrate.accounts.model import Access, Team
from hitrate.accounts.settings import Count, TeamSettings
from hitrate.clock import iso

AnyRequest = Request[None, None, _State]


class TeamInfo(msgspec.Struct, rename="camel"):
    """`state` says what shuts the cache; `status` is what `turbo` is told."""

    id: str
    slug: str
    name: str
    created_at: str
    state: State
    status: str


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


def team_api(office: Office) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get(
        "/v1/teams/{team:str}",
        operation_id="getTeam",
        tags=["teams"],
        guards=[office.needs(Access.TEAM)],
        sync_to_thread=True,
    )
    def show(request: AnyRequest) -> TeamInfo:
        """A team, named by id or slug, and the state it is in."""
        team = grant_of(request).team
        state = office.standing.of_team(team)
        created = iso(team.created_at_ms)
        return TeamInfo(team.id, team.slug, team.name, created, state, STATUS[state])

    @get(
        "/v1/teams/{team:str}/settings",
        operation_id="getTeamSettings",
        tags=["teams"],
        guards=[office.needs(Access.TEAM)],
        sync_to_thread=True,
    )
    def settings(request: AnyRequest) -> SettingsInfo:
        """The team's name and switches."""
        team = grant_of(request).team
        return settings_info(team, office.standing.of_team(team))

    @patch(
        "/v1/teams/{team:str}/settings",
        operation_id="changeTeamSettings",
        tags=["teams"],
        guards=[office.needs(Access.SETTINGS)],
        sync_to_thread=True,
    )
    def change(request: AnyRequest, data: SettingsPatch) -> SettingsInfo:
        """Change the name, Remote Caching for the whole team, or requests a minute."""
        grant = grant_of(request)
        if data.name is not UNSET:
            office.accounts.teams.rename(grant.team, data.name, grant.actor)
        team = office.accounts.teams.change(
            grant.team, lambda now: apply_settings(data, now), grant.actor, "settings.change"
        )
        office.gate.forget()
        return settings_info(team, office.standing.of_team(team))

    return [show, settings, change]
