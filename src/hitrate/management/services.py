"""Services that the dashboard pages share."""

from dataclasses import dataclass

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.billing.meter import Meter
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage import TeamUsageResponse, team_usage
from hitrate.billing.usage_cycles import UsageCycleStore
from hitrate.clock import Clock
from hitrate.teams.models import Team


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
