"""The billing worker: spend caps, closed cycles in the database, last use of tokens."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import Permission
from hitrate.billing import worker
from hitrate.billing.meter import CLOSING_DELAY_MS
from hitrate.billing.meter_file import RECORD_BYTES, MeterRecord, read_records
from hitrate.billing.quotas import QuotaEnforcer, TeamState
from hitrate.billing.usage import ClosedCycle, UsageCycleStore
from hitrate.billing.worker import BillingWorker
from hitrate.db.engine import open_database
from hitrate.errors import ServiceUnavailable
from hitrate.teams.models import OPERATOR, Team
from hitrate.teams.settings import BillingPatch, Prices, TeamSettings, apply_billing
from tests.support.meter_harness import MeterHarness, ms
from tests.support.server import eventually

DAY_MS = 86_400_000


class BillingFixture(MeterHarness):
    """A meter with a billing worker and two teams, on one database."""

    def __init__(self, data_dir: Path) -> None:
        self.engine = open_database(data_dir)
        super().__init__(data_dir)
        self.accounts = AccountStore(self.engine, self.clock)
        self.usage_cycles = UsageCycleStore(self.accounts.engine)
        self.team: Team = self.accounts.teams.create("ours")
        self.other: Team = self.accounts.teams.create("theirs")
        self.authorizer = Authorizer(self.accounts, self.clock)
        self.worker = self.create_worker()

    def create_worker(self) -> BillingWorker:
        return BillingWorker(
            self.accounts, self.usage_cycles, self.meter, self.authorizer, self.clock
        )

    def kill(self) -> None:
        super().kill()
        self.worker = self.create_worker()

    def run_once(self) -> None:
        self.worker.run_once()

    def change(self, **billing: object) -> None:
        """Apply a billing patch, as an owner does."""
        patch = msgspec.convert(billing, BillingPatch)
        now_ms = self.clock.now_ms()
        self.team = self.accounts.teams.change(
            self.team, lambda old: apply_billing(patch, old, now_ms), OPERATOR, "billing.change"
        )

    def count(self, requests: int) -> None:
        self.meter.count(self.current_team(), requests=requests)

    def current_team(self) -> Team:
        """Return the team as it is in the database."""
        team = self.accounts.teams.find(team_id=self.team.id)
        assert team is not None
        return team

    @property
    def paused_at_ms(self) -> int | None:
        return self.current_team().settings.paused_at_ms

    def state(self) -> TeamState:
        return QuotaEnforcer(self.meter, self.clock).team_state(self.current_team())

    def stored_cycles(self) -> list[ClosedCycle]:
        return self.usage_cycles.latest(self.team, 100)


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[BillingFixture]:
    fixture = BillingFixture(tmp_path)
    yield fixture
    fixture.meter.close()
    fixture.engine.dispose()


@pytest.fixture
def capped(billing: BillingFixture) -> BillingFixture:
    """A team whose requests cost one unit each, with a spend cap of ten."""
    billing.change(prices={"millionRequests": "1000000"}, spendCap="10")
    return billing


# The spend cap


def test_reached_spend_cap_is_recorded_in_settings_and_audit_log(capped: BillingFixture) -> None:
    capped.count(9)
    capped.run_once()
    assert (capped.paused_at_ms, capped.state()) == (None, TeamState.ACTIVE)
    capped.count(1)
    assert capped.state() is TeamState.PAUSED, "before the worker has recorded it"
    capped.run_once()
    paused_at_ms = capped.clock.now_ms()
    capped.clock.advance(5)
    capped.run_once()
    assert capped.paused_at_ms == paused_at_ms
    [entry] = [e for e in capped.accounts.audit.page(capped.team.id, 9) if "pause" in e.action]
    assert (entry.actor_kind, entry.at_ms, entry.details["after"]) == (
        "system",
        paused_at_ms,
        {"pausedAtMs": paused_at_ms},
    )


def test_pause_continues_in_the_next_cycle_and_after_a_kill(capped: BillingFixture) -> None:
    capped.count(10)
    capped.run_once()
    for moment in ("2026-04-02", "2026-05-02"):
        capped.set_time(moment)
        capped.run_once()
        capped.kill()
        assert capped.state() is TeamState.PAUSED


@pytest.mark.parametrize("cap", ["10.000001", "500", None])
def test_raising_or_removing_the_spend_cap_ends_a_pause(
    capped: BillingFixture, cap: str | None
) -> None:
    capped.count(10)
    capped.run_once()
    capped.change(spendCap=cap)
    capped.run_once()
    assert (capped.paused_at_ms, capped.state()) == (None, TeamState.ACTIVE)


def test_spend_cap_raised_below_the_cost_so_far_pauses_again(capped: BillingFixture) -> None:
    capped.count(20)
    capped.run_once()
    capped.change(spendCap="15")
    assert capped.state() is TeamState.PAUSED
    capped.clock.advance(1)
    capped.run_once()
    assert capped.paused_at_ms == capped.clock.now_ms()


def test_pause_continues_when_the_spend_cap_is_lowered_or_repeated(capped: BillingFixture) -> None:
    capped.count(10)
    capped.run_once()
    capped.set_time("2026-04-02")
    for cap in ("10", "5"):
        capped.change(spendCap=cap)
        capped.run_once()
        assert capped.state() is TeamState.PAUSED


def test_spend_cap_lowered_to_the_cost_so_far_pauses(capped: BillingFixture) -> None:
    capped.count(7)
    capped.run_once()
    assert capped.state() is TeamState.ACTIVE
    capped.change(spendCap="7")
    assert capped.state() is TeamState.PAUSED
    capped.run_once()
    assert capped.paused_at_ms == capped.clock.now_ms()


def test_raised_price_can_reach_the_spend_cap(capped: BillingFixture) -> None:
    capped.count(5)
    capped.change(prices={"millionRequests": "2000000"})
    capped.run_once()
    assert capped.paused_at_ms is not None


def test_storage_alone_can_reach_the_spend_cap(billing: BillingFixture) -> None:
    billing.set_time("2026-04-01")  # a month of 30 days
    billing.change(prices={"storedGb": "30"}, spendCap="10")
    billing.stored_bytes[billing.team.id] = 10**9
    billing.run_once()
    billing.set_time("2026-04-10T23:59:59.999")
    billing.run_once()
    assert billing.state() is TeamState.ACTIVE
    billing.set_time("2026-04-11")
    billing.count(1)
    assert billing.state() is TeamState.PAUSED


@pytest.mark.parametrize("killed", [False, True])
def test_spend_cap_reached_at_the_cycle_end_pauses_the_next_cycle(
    capped: BillingFixture, killed: bool
) -> None:
    capped.run_once()
    capped.set_time("2026-03-31T23:59:59.999")
    capped.count(10)
    capped.set_time("2026-04-01T00:00:00.5")
    if killed:
        capped.kill()
    else:
        capped.meter.current(capped.current_team())
    capped.run_once()
    assert capped.state() is TeamState.PAUSED


def test_spend_cap_changed_in_the_next_cycle_ignores_the_closed_cycle(
    capped: BillingFixture,
) -> None:
    capped.count(20)
    capped.run_once()
    capped.set_time("2026-04-01T00:00:01")
    capped.run_once()
    capped.change(spendCap="15")
    capped.clock.advance(1)
    capped.run_once()
    assert (capped.paused_at_ms, capped.state()) == (None, TeamState.ACTIVE)


def test_other_teams_are_not_paused(capped: BillingFixture) -> None:
    capped.meter.count(capped.other, requests=1000)
    capped.run_once()
    assert QuotaEnforcer(capped.meter, capped.clock).team_state(capped.other) is TeamState.ACTIVE


# Closed cycles


def test_closed_cycle_is_stored_once_at_the_prices_of_its_end(billing: BillingFixture) -> None:
    billing.change(prices={"uploadedGb": "0.5", "storedGb": "31"}, currency="EUR")
    billing.stored_bytes[billing.team.id] = 2 * 10**9
    billing.meter.sample_storage(billing.current_team())
    billing.meter.count(
        billing.current_team(), requests=3, uploaded_bytes=4 * 10**9, downloaded_bytes=5, events=6
    )
    billing.set_time("2026-04-01T00:00:30")
    billing.run_once()
    assert billing.stored_cycles() == [], "counts may still be corrected"
    billing.set_time("2026-04-01T00:01:00")
    for _ in range(3):
        billing.run_once()
        billing.kill()
    average = 2 * 10**9 * 22 // 31
    cost = 2_000_000 + 2 * 22 * 1_000_000
    assert billing.stored_cycles() == [
        ClosedCycle(
            ms("2026-03-01"), ms("2026-04-01"), 4 * 10**9, 5, 3, 6, 2 * 10**9, average, "EUR", cost
        )
    ]


def test_kill_between_storing_and_releasing_a_cycle_does_not_double_it(
    billing: BillingFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing.count(5)
    billing.set_time("2026-04-02")

    def raise_exit(_: MeterRecord) -> None:
        raise SystemExit

    monkeypatch.setattr(billing.meter, "release", raise_exit)
    with pytest.raises(SystemExit):
        billing.run_once()
    monkeypatch.undo()
    assert [cycle.requests for cycle in billing.stored_cycles()] == [5]
    billing.kill()
    billing.count(1)
    billing.run_once()
    assert [cycle.requests for cycle in billing.stored_cycles()] == [5]
    assert billing.usage(billing.team) == {"requests": 1}
    assert billing.meter.closed_records() == []
    assert len(read_records(billing.data_dir)) == 2, "one current record for each team"


def test_kill_before_storing_a_cycle_does_not_lose_it(
    billing: BillingFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing.count(5)
    billing.set_time("2026-04-02")

    def raise_exit(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(UsageCycleStore, "add", raise_exit)
    with pytest.raises(SystemExit):
        billing.run_once()
    monkeypatch.undo()
    billing.kill()
    billing.run_once()
    assert [cycle.requests for cycle in billing.stored_cycles()] == [5]


def test_latest_cycles_are_newest_first_up_to_the_limit(billing: BillingFixture) -> None:
    for month in range(1, 7):
        billing.set_time(f"2027-{month:02d}-15")
        billing.count(month)
        billing.run_once()
    requests = [cycle.requests for cycle in billing.stored_cycles()]
    assert requests[:5] == [5, 4, 3, 2, 1]
    assert [c.requests for c in billing.usage_cycles.latest(billing.team, 2)] == [5, 4]
    assert billing.usage_cycles.latest(billing.team, 0) == []
    ends = [cycle.end_ms for cycle in billing.stored_cycles()]
    assert ends[1:] == [cycle.start_ms for cycle in billing.stored_cycles()][:-1]


def test_meter_file_does_not_grow_with_the_number_of_cycles(billing: BillingFixture) -> None:
    for day in range(400):
        billing.clock.advance(86_400 * (1 + day % 3))
        billing.run_once()
        billing.clock.value_ms += CLOSING_DELAY_MS
        billing.run_once()
    assert billing.path.stat().st_size <= 4 * RECORD_BYTES
    assert len(billing.stored_cycles()) > 20


def test_cost_above_the_largest_integer_does_not_affect_other_teams(
    billing: BillingFixture,
) -> None:
    billing.change(prices={"uploadedGb": 10**12})
    billing.meter.count(billing.current_team(), uploaded_bytes=2**62)
    billing.meter.count(billing.other, requests=3)
    billing.set_time("2026-04-02")
    billing.run_once()
    assert [cycle.cost_micros for cycle in billing.stored_cycles()] == [2**63 - 1]
    assert [cycle.requests for cycle in billing.usage_cycles.latest(billing.other, 9)] == [3]


def test_record_of_an_unknown_team_does_not_affect_other_teams(billing: BillingFixture) -> None:
    unknown = Team("team_unknown", "unknown", "", 0)
    billing.meter.count(unknown, requests=1)
    billing.count(5)
    billing.set_time("2026-04-02")
    billing.meter.count(unknown, requests=1)
    billing.run_once()
    assert [cycle.requests for cycle in billing.stored_cycles()] == [5]


# Other work


def test_stored_bytes_are_sampled_between_requests(billing: BillingFixture) -> None:
    billing.run_once()
    billing.stored_bytes[billing.team.id] = 10
    billing.run_once()
    billing.clock.advance(2)
    billing.stored_bytes[billing.team.id] = 0
    billing.run_once()
    billing.kill()
    assert billing.usage(billing.team) == {"stored_byte_ms": 20_000}


def test_changed_cycle_day_applies_between_requests(billing: BillingFixture) -> None:
    billing.count(4)
    billing.change(cycleDay=11)
    billing.run_once()
    billing.set_time("2026-03-11")
    billing.clock.value_ms += CLOSING_DELAY_MS
    billing.run_once()
    assert [(c.requests, c.end_ms) for c in billing.stored_cycles()] == [(4, ms("2026-03-11"))]


def test_last_use_of_tokens_is_saved_at_close(billing: BillingFixture) -> None:
    token, secret = billing.accounts.tokens.create(billing.team, "ci")
    billing.worker.open()
    billing.authorizer.authorize(b"Bearer " + secret.encode(), b"", Permission.READ)
    used_ms = billing.clock.now_ms()
    billing.worker.close()
    [stored_token] = [
        t for t in billing.accounts.tokens.list_for_team(billing.team) if t.id == token.id
    ]
    assert stored_token.used_at_ms == used_ms


def test_last_use_of_tokens_is_saved_periodically(
    billing: BillingFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = billing.accounts.tokens.create(billing.team, "ci")
    billing.authorizer.authorize(b"Bearer " + secret.encode(), b"", Permission.READ)
    billing.run_once()
    [stored_token] = billing.accounts.tokens.list_for_team(billing.team)
    assert stored_token.used_at_ms is None
    monkeypatch.setattr(worker, "LAST_USED_INTERVAL_S", 0.0)
    billing.run_once()
    [stored_token] = billing.accounts.tokens.list_for_team(billing.team)
    assert stored_token.used_at_ms == billing.clock.now_ms()


def test_worker_continues_after_errors(
    billing: BillingFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "INTERVAL_S", 0.01)
    attempts: list[str] = []
    list_teams = billing.accounts.teams.all

    def list_teams_with_errors() -> list[Team]:
        attempts.append("")
        if len(attempts) <= 2:
            raise [ServiceUnavailable("locked"), OSError(errno.EIO, os.strerror(errno.EIO))][
                len(attempts) - 1
            ]
        return list_teams()

    monkeypatch.setattr(billing.accounts.teams, "all", list_teams_with_errors)
    billing.count(5)
    billing.set_time("2026-04-02")
    billing.worker = billing.create_worker()
    billing.worker.open()
    eventually(lambda: billing.stored_cycles())
    billing.worker.close()
    assert [cycle.requests for cycle in billing.stored_cycles()] == [5]


def test_closed_cycles_are_rows_of_the_usage_cycles_table(billing: BillingFixture) -> None:
    billing.count(5)
    billing.set_time("2026-04-02")
    billing.run_once()
    with closing(sqlite3.connect(billing.data_dir / "hitrate.sqlite")) as database:
        rows = database.execute(
            "SELECT requests FROM usage_cycles WHERE team_id = ?", [billing.team.id]
        )
        assert rows.fetchall() == [(5,)]


def test_pause_and_prices_are_stored_in_the_team_settings(capped: BillingFixture) -> None:
    capped.count(10)
    capped.run_once()
    assert capped.current_team().settings == TeamSettings(
        prices=Prices(million_requests=10**12),
        spend_cap=10_000_000,
        paused_at_ms=capped.clock.now_ms(),
    )
