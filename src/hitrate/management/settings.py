"""A team and its switches: `/v1/teams/{team}` and `/settings`."""

from litestar import Request, get, patch
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import UNSET

from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.management.schemas import SettingsInfo, TeamInfo, settings_info, team_info
from hitrate.management.services import AccountServices
from hitrate.teams.settings import SettingsPatch, apply_settings

AnyRequest = Request[None, None, State]


def team_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get(
        "/v1/teams/{team:str}",
        operation_id="getTeam",
        tags=["teams"],
        guards=[office.needs(Permission.TEAM)],
        sync_to_thread=True,
    )
    def show(request: AnyRequest) -> TeamInfo:
        """A team, named by id or slug, and the state it is in."""
        team = current_auth(request).team
        return team_info(team, office.standing.team_state(team))

    @get(
        "/v1/teams/{team:str}/settings",
        operation_id="getTeamSettings",
        tags=["teams"],
        guards=[office.needs(Permission.TEAM)],
        sync_to_thread=True,
    )
    def settings(request: AnyRequest) -> SettingsInfo:
        """The team's name and switches."""
        team = current_auth(request).team
        return settings_info(team, office.standing.team_state(team))

    @patch(
        "/v1/teams/{team:str}/settings",
        operation_id="changeTeamSettings",
        tags=["teams"],
        guards=[office.needs(Permission.SETTINGS)],
        sync_to_thread=True,
    )
    def change(request: AnyRequest, data: JSONBody[SettingsPatch]) -> SettingsInfo:
        """Change the name, Remote Caching for the whole team, or requests a minute."""
        auth = current_auth(request)
        team = office.accounts.teams.change(
            auth.team,
            lambda settings: apply_settings(data, settings),
            auth.actor,
            "settings.change",
            name=None if data.name is UNSET else data.name,
        )
        office.authorizer.invalidate_cache()
        return settings_info(team, office.standing.team_state(team))

    return [show, settings, change]
