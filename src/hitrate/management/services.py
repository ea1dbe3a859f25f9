"""What the routes of this room share."""

from dataclasses import dataclass

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import RequirePermission
from hitrate.auth.models import Permission
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage import TeamUsageResponse, team_usage
from hitrate.billing.usage_cycles import UsageCycleStore
from hitrate.clock import Clock
from hitrate.errors import BadRequest
from hitrate.teams.models import Team
from hitrate.units import parse_duration


@dataclass(frozen=True, slots=True)
class AccountServices:
    """Injected services. `authorizer.invalidate_cache()` makes a change effective immediately."""

    accounts: AccountStore
    authorizer: Authorizer
    usage_cycles: UsageCycleStore
    meter: Meter
    standing: QuotaEnforcer
    clock: Clock

    def usage(self, team: Team, past_cycles: int) -> TeamUsageResponse:
        """Report the usage of a team in the current and past billing cycles."""
        return team_usage(
            team,
            self.standing.team_state(team),
            self.meter,
            self.usage_cycles,
            self.clock.now_ms(),
            past_cycles,
        )

    def needs(self, access: Permission) -> RequirePermission:
        """The guard of a route."""
        return RequirePermission(self.authorizer, access)


def duration_s(text: str, field: str) -> float:
    """Seconds of `45s`, `10m`, `30d`. Raises BadRequest that names the field."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadRequest(f"$.{field} is {text[:40]!a}; it takes {error}.") from error
