"""Background job of billing, once a second on its own thread.

It flushes the meter, pauses teams that have reached their spend cap, stores closed billing cycles
and saves when tokens were last used.
"""

import time

import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.background import PeriodicThread
from hitrate.billing.meter import Meter
from hitrate.billing.pricing import UsageTotals, spend_cap_reached
from hitrate.billing.usage import UsageCycleStore
from hitrate.clock import Clock
from hitrate.errors import ServiceUnavailable
from hitrate.teams.models import Actor, Team
from hitrate.teams.settings import TeamSettings

INTERVAL_S = 1.0
LAST_USED_INTERVAL_S = 20.0

_SYSTEM = Actor("system", "hitrate", "hitrate")


class BillingWorker:
    """Runs the billing job."""

    def __init__(
        self,
        accounts: AccountStore,
        usage_cycles: UsageCycleStore,
        meter: Meter,
        authorizer: Authorizer,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._usage_cycles = usage_cycles
        self._meter = meter
        self._authorizer = authorizer
        self._clock = clock
        self._thread = PeriodicThread("billing", self.run_once, INTERVAL_S)
        self._last_used_saved_at = time.monotonic()
        self._caps_checked_until_ms = 0

    def open(self) -> None:
        """Start the thread."""
        self._thread.open()

    def close(self) -> None:
        """Stop the thread and run the job a last time."""
        if self._thread.close():
            self._last_used_saved_at = float("-inf")
            self._thread.run_once()

    def run_once(self) -> None:
        """Run the job once. Flushes the meter first, whatever fails afterwards.

        Raises ServiceUnavailable or OSError.
        """
        self._meter.sync()
        now_ms = self._clock.now_ms()
        teams = {team.id: team for team in self._accounts.teams.all()}
        for team in teams.values():
            self._meter.sample_storage(team)
            record = self._meter.current(team)
            self._pause_if_cap_reached(team, record.usage, record.cycle.length_ms)
        # A cap may have been reached in the last second of a cycle.
        for record in self._meter.closed_records(min_age_ms=0):
            if record.end_ms > self._caps_checked_until_ms and record.team_id in teams:
                team = teams[record.team_id]
                self._pause_if_cap_reached(team, record.usage, record.cycle.length_ms)
        self._caps_checked_until_ms = now_ms
        for record in self._meter.closed_records():
            if record.team_id in teams:
                self._usage_cycles.add(teams[record.team_id], record.cycle, record.usage)
                self._meter.release(record)
        if time.monotonic() - self._last_used_saved_at > LAST_USED_INTERVAL_S:
            self._save_last_used()

    def _pause_if_cap_reached(self, team: Team, usage: UsageTotals, cycle_ms: int) -> None:
        """Pause a team that has reached its spend cap, until an owner raises the cap.

        The pause continues in the next billing cycle.
        """
        if team.settings.paused_at_ms is None and spend_cap_reached(team.settings, usage, cycle_ms):
            now_ms = self._clock.now_ms()

            def pause(settings: TeamSettings) -> TeamSettings:
                if settings.paused_at_ms is None and spend_cap_reached(settings, usage, cycle_ms):
                    return msgspec.structs.replace(settings, paused_at_ms=now_ms)
                return settings

            self._accounts.teams.change(team, pause, _SYSTEM, "billing.pause")

    def _save_last_used(self) -> None:
        self._last_used_saved_at = time.monotonic()
        last_used = self._authorizer.drain_last_used()
        try:
            if last_used:
                self._accounts.tokens.save_last_used(last_used)
        except ServiceUnavailable:
            self._authorizer.restore_last_used(last_used)
            raise
