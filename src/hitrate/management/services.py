"""What the routes of this room share."""

from dataclasses import dataclass

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import RequirePermission
from hitrate.auth.models import Permission
from hitrate.billing.meter import Meter
from hitrate.billing.meter_file import ended_cycles
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.billing.usage import Usage, usage_of
from hitrate.billing.usage_cycles import Ledger
from hitrate.clock import Clock
from hitrate.errors import BadRequest
from hitrate.teams.models import Team
from hitrate.units import parse_duration


@dataclass(frozen=True, slots=True)
class AccountServices:
    """Injected services. `authorizer.invalidate_cache()` makes a change effective immediately."""

    accounts: AccountStore
    authorizer: Authorizer
    ledger: Ledger
    meter: Meter
    standing: QuotaEnforcer
    clock: Clock

    def usage(self, team: Team, past_cycles: int) -> Usage:
        """What a team used in this billing cycle and in those before."""
        cycle, used = self.meter.reading(team)
        now_ms = self.clock.now_ms()
        ended = ended_cycles(self.meter.over(grace_ms=0), team, now_ms)
        past = self.ledger.past(team, past_cycles, ended)
        return usage_of(team, self.standing.of_team(team), cycle, used, past, now_ms)

    def needs(self, access: Permission) -> RequirePermission:
        """The guard of a route."""
        return RequirePermission(self.authorizer, access)


def duration_s(text: str, field: str) -> float:
    """Seconds of `45s`, `10m`, `30d`. Raises BadRequest that names the field."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadRequest(f"$.{field} is {text[:40]!a}; it takes {error}.") from error
