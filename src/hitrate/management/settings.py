"""Team and settings routes: `/v1/teams/{team}` and `/v1/teams/{team}/settings`."""

from litestar import get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.schemas import TeamResponse, TeamSettingsResponse
from hitrate.teams.settings import SettingsPatch, apply_settings
from hitrate.teams.store import TeamStore


@get(
    "/v1/teams/{team:str}",
    operation_id="getTeam",
    tags=["teams"],
    permission=Permission.TEAM,
)
@run_in_thread
def show_team(request: AnyRequest, quotas: NamedDependency[QuotaEnforcer]) -> TeamResponse:
    """A team, by id or slug, and its state."""
    team = current_auth(request).team
    return TeamResponse.from_team(team, quotas.team_state(team))


@get(
    "/v1/teams/{team:str}/settings",
    operation_id="getTeamSettings",
    tags=["teams"],
    permission=Permission.TEAM,
)
@run_in_thread
def show_settings(
    request: AnyRequest, quotas: NamedDependency[QuotaEnforcer]
) -> TeamSettingsResponse:
    """Name, Remote Caching and rate limit of the team."""
    team = current_auth(request).team
    return TeamSettingsResponse.from_team(team, quotas.team_state(team))


@patch(
    "/v1/teams/{team:str}/settings",
    operation_id="changeTeamSettings",
    tags=["teams"],
    permission=Permission.SETTINGS,
)
@run_in_thread
def change_settings(
    request: AnyRequest,
    data: JSONBody[SettingsPatch],
    teams: NamedDependency[TeamStore],
    authorizer: NamedDependency[Authorizer],
    quotas: NamedDependency[QuotaEnforcer],
) -> TeamSettingsResponse:
    """Change the team's name, its rate limit, or Remote Caching for the whole team."""
    auth = current_auth(request)
    team = teams.change(
        auth.team,
        lambda settings: apply_settings(data, settings),
        auth.actor,
        "settings.change",
        name=None if data.name is UNSET else data.name,
    )
    authorizer.invalidate_cache()
    return TeamSettingsResponse.from_team(team, quotas.team_state(team))


HANDLERS = (show_team, show_settings, change_settings)
