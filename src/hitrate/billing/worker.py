"""What the accounts do beside the requests, once a second on a thread of their own: the meter is
flushed, ended cycles go to the ledger, a spend cap that was reached is noted down."""

import threading
import time

import msgspec

from hitrate import log
from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.billing.meter import Meter
from hitrate.billing.pricing import Amounts, cap_reached
from hitrate.billing.usage_cycles import Ledger
from hitrate.clock import Clock
from hitrate.errors import ServiceUnavailable
from hitrate.teams.models import Actor, Team
from hitrate.teams.settings import TeamSettings

INTERVAL_S = 1.0
LAST_USES_EVERY_S = 20.0

_SYSTEM = Actor("system", "hitrate", "hitrate")

_log = log.get_logger("billing")


class BillingWorker:
    """Owns the thread."""

    def __init__(
        self,
        accounts: AccountStore,
        ledger: Ledger,
        meter: Meter,
        authorizer: Authorizer,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._meter = meter
        self._authorizer = authorizer
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._uses_written_at = time.monotonic()
        self._seen_until_ms = 0

    def open(self) -> None:
        """Start."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="accounts", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write down what is left, and end."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._uses_written_at = float("-inf")
        self._attempt()
        self._meter.close()

    def step(self) -> None:
        """All of it, once; the flush first, whatever may fail after it."""
        self._meter.sync()
        now_ms = self._clock.now_ms()
        teams = {team.id: team for team in self._accounts.teams.all()}
        for team in teams.values():
            self._meter.observe(team)
            record = self._meter.current(team)
            self._pause_if_due(team, record.used, record.end_ms - record.start_ms)
        for record in self._meter.over(grace_ms=0):  # a cap may be reached in the last second
            if record.end_ms > self._seen_until_ms and record.team in teams:
                team, length_ms = teams[record.team], record.end_ms - record.start_ms
                self._pause_if_due(team, record.used, length_ms)
        self._seen_until_ms = now_ms
        for record in self._meter.over():
            if record.team in teams:
                self._ledger.write(teams[record.team], record.cycle, record.used)
                self._meter.forget(record)
        if time.monotonic() - self._uses_written_at > LAST_USES_EVERY_S:
            self._write_last_uses()

    def _pause_if_due(self, team: Team, used: Amounts, cycle_ms: int) -> None:
        """Once reached, a cap holds until an owner acts, also when the next cycle begins."""
        if team.settings.paused_at_ms is None and cap_reached(team.settings, used, cycle_ms):
            now_ms = self._clock.now_ms()

            def pause(settings: TeamSettings) -> TeamSettings:
                if settings.paused_at_ms is None and cap_reached(settings, used, cycle_ms):
                    return msgspec.structs.replace(settings, paused_at_ms=now_ms)
                return settings

            self._accounts.teams.change(team, pause, _SYSTEM, "billing.pause")

    def _write_last_uses(self) -> None:
        self._uses_written_at = time.monotonic()
        uses = self._authorizer.drain_last_used()
        try:
            if uses:
                self._accounts.tokens.save_last_used(uses)
        except ServiceUnavailable:
            self._authorizer.restore_last_used(uses)
            raise

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._attempt()

    def _attempt(self) -> None:
        try:
            self.step()
        except ServiceUnavailable as error:
            _log.warning("bookkeeping is put off", reason=str(error))
        except Exception:  # whatever it is, the next second tries again
            _log.exception("bookkeeping failed")
