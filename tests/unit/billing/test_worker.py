"""What is done beside the requests: caps that hold, ended cycles in the ledger, last uses."""

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
from hitrate.billing.meter import GRACE_MS
from hitrate.billing.meter_file import RECORD_BYTES, Record, read_meter
from hitrate.billing.quotas import QuotaEnforcer, State
from hitrate.billing.usage_cycles import Ledger, PastCycle
from hitrate.billing.worker import BillingWorker
from hitrate.db.engine import open_database
from hitrate.errors import ServiceUnavailable
from hitrate.teams.models import OPERATOR, Team
from hitrate.teams.settings import BillingPatch, Prices, TeamSettings, apply_billing
from tests.support.meter_harness import MeterHarness, ms
from tests.support.server import eventually

DAY_MS = 86_400_000


class Office(MeterHarness):
    """A meter with its billing_worker; each `step` is one second's work."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_database(folder)
        super().__init__(folder)
        self.accounts = AccountStore(self.engine, self.clock)
        self.ledger = Ledger(self.accounts.engine)
        self.team: Team = self.accounts.teams.create("ours")
        self.other: Team = self.accounts.teams.create("theirs")
        self.authorizer = Authorizer(self.accounts, self.clock)
        self.keeper = self._keeper()

    def _keeper(self) -> BillingWorker:
        return BillingWorker(self.accounts, self.ledger, self.meter, self.authorizer, self.clock)

    def kill(self) -> None:
        super().kill()
        self.keeper = self._keeper()

    def step(self) -> None:
        self.keeper.step()

    def change(self, **billing: object) -> None:
        """What an owner says of money: `apply_billing`."""
        patch = msgspec.convert(billing, BillingPatch)
        now_ms = self.clock.now_ms()
        self.team = self.accounts.teams.change(
            self.team, lambda old: apply_billing(patch, old, now_ms), OPERATOR, "billing.change"
        )

    def count(self, requests: int) -> None:
        self.meter.count(self.now(), requests=requests)

    def now(self) -> Team:
        """The team as the database has it."""
        found = self.accounts.teams.find(team_id=self.team.id)
        assert found is not None
        return found

    @property
    def paused_at_ms(self) -> int | None:
        return self.now().settings.paused_at_ms

    def state(self) -> State:
        return QuotaEnforcer(self.meter, self.clock).of_team(self.now())

    def past(self) -> list[PastCycle]:
        return self.ledger.past(self.team, 100, ())


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.meter.close()
    office.engine.dispose()


@pytest.fixture
def capped(office: Office) -> Office:
    """A request costs one; the cap is ten."""
    office.change(prices={"millionRequests": "1000000"}, spendCap="10")
    return office


# The spend cap


def test_a_cap_that_is_reached_is_noted_with_its_time_and_in_the_audit_log(capped: Office) -> None:
    capped.count(9)
    capped.step()
    assert (capped.paused_at_ms, capped.state()) == (None, State.ACTIVE)
    capped.count(1)
    assert capped.state() is State.PAUSED, "at once, not only when it is noted"
    capped.step()
    noted_ms = capped.clock.now_ms()
    capped.clock.advance(5)
    capped.step()
    assert capped.paused_at_ms == noted_ms
    [entry] = [e for e in capped.accounts.audit.page(capped.team.id, 9) if "pause" in e.action]
    assert (entry.actor_kind, entry.at, entry.details["after"]) == (
        "system",
        noted_ms,
        {"pausedAtMs": noted_ms},
    )


def test_a_pause_holds_in_the_next_cycle_and_after_a_kill(capped: Office) -> None:
    capped.count(10)
    capped.step()
    for moment in ("2026-04-02", "2026-05-02"):
        capped.at(moment)
        capped.step()
        capped.kill()
        assert capped.state() is State.PAUSED


@pytest.mark.parametrize("cap", ["10.000001", "500", None])
def test_raising_or_disabling_the_cap_ends_a_pause(capped: Office, cap: str | None) -> None:
    capped.count(10)
    capped.step()
    capped.change(spendCap=cap)
    capped.step()
    assert (capped.paused_at_ms, capped.state()) == (None, State.ACTIVE)


def test_a_cap_that_is_raised_to_less_than_was_spent_pauses_anew(capped: Office) -> None:
    capped.count(20)
    capped.step()
    capped.change(spendCap="15")
    assert capped.state() is State.PAUSED
    capped.clock.advance(1)
    capped.step()
    assert capped.paused_at_ms == capped.clock.now_ms()


def test_a_pause_outlives_a_cap_that_is_lowered_or_said_again(capped: Office) -> None:
    capped.count(10)
    capped.step()
    capped.at("2026-04-02")
    for cap in ("10", "5"):
        capped.change(spendCap=cap)
        capped.step()
        assert capped.state() is State.PAUSED


def test_a_cap_that_is_lowered_to_what_was_spent_pauses(capped: Office) -> None:
    capped.count(7)
    capped.step()
    assert capped.state() is State.ACTIVE
    capped.change(spendCap="7")
    assert capped.state() is State.PAUSED
    capped.step()
    assert capped.paused_at_ms == capped.clock.now_ms()


def test_a_price_that_is_raised_may_reach_the_cap(capped: Office) -> None:
    capped.count(5)
    capped.change(prices={"millionRequests": "2000000"})
    capped.step()
    assert capped.paused_at_ms is not None


def test_storage_alone_reaches_a_cap_in_time(office: Office) -> None:
    office.at("2026-04-01")  # a month of 30 days
    office.change(prices={"storedGb": "30"}, spendCap="10")
    office.stored[office.team.id] = 10**9
    office.step()
    office.at("2026-04-10T23:59:59.999")
    office.step()
    assert office.state() is State.ACTIVE
    office.at("2026-04-11")
    office.count(1)
    assert office.state() is State.PAUSED


@pytest.mark.parametrize("killed", [False, True])
def test_a_cap_that_is_reached_in_a_cycles_last_moment_holds_in_the_next(
    capped: Office, killed: bool
) -> None:
    capped.step()
    capped.at("2026-03-31T23:59:59.999")
    capped.count(10)
    capped.at("2026-04-01T00:00:00.5")
    if killed:
        capped.kill()
    else:
        capped.meter.current(capped.now())
    capped.step()
    assert capped.state() is State.PAUSED


def test_a_cap_that_was_raised_in_the_next_cycle_is_not_held_against_the_last(
    capped: Office,
) -> None:
    capped.count(20)
    capped.step()
    capped.at("2026-04-01T00:00:01")
    capped.step()
    capped.change(spendCap="15")
    capped.clock.advance(1)
    capped.step()
    assert (capped.paused_at_ms, capped.state()) == (None, State.ACTIVE)


def test_other_teams_are_not_paused(capped: Office) -> None:
    capped.meter.count(capped.other, requests=1000)
    capped.step()
    assert QuotaEnforcer(capped.meter, capped.clock).of_team(capped.other) is State.ACTIVE


# The ledger


def test_an_ended_cycle_is_written_once_at_the_prices_of_its_end(office: Office) -> None:
    office.change(prices={"uploadedGb": "0.5", "storedGb": "31"}, currency="EUR")
    office.stored[office.team.id] = 2 * 10**9
    office.meter.observe(office.now())
    office.meter.count(office.now(), requests=3, uploaded=4 * 10**9, downloaded=5, events=6)
    office.at("2026-04-01T00:00:30")
    office.step()
    assert office.past() == [], "counts may still be corrected"
    office.at("2026-04-01T00:01:00")
    for _ in range(3):
        office.step()
        office.kill()
    average = 2 * 10**9 * 22 // 31
    cost = 2_000_000 + 2 * 22 * 1_000_000
    assert office.past() == [
        PastCycle(
            ms("2026-03-01"), ms("2026-04-01"), 4 * 10**9, 5, 3, 6, 2 * 10**9, average, "EUR", cost
        )
    ]


def test_a_kill_between_the_ledger_and_the_meter_doubles_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.count(5)
    office.at("2026-04-02")

    def killed(_: Record) -> None:
        raise SystemExit

    monkeypatch.setattr(office.meter, "forget", killed)
    with pytest.raises(SystemExit):
        office.step()
    monkeypatch.undo()
    assert [cycle.requests for cycle in office.past()] == [5]
    office.kill()
    office.count(1)
    office.step()
    assert [cycle.requests for cycle in office.past()] == [5]
    assert office.used(office.team) == {"requests": 1}
    assert office.meter.over() == []
    assert len(read_meter(office.folder)) == 2, "one for each team, the others' places are free"


def test_a_kill_before_the_ledger_loses_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.count(5)
    office.at("2026-04-02")

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(Ledger, "write", killed)
    with pytest.raises(SystemExit):
        office.step()
    monkeypatch.undo()
    office.kill()
    office.step()
    assert [cycle.requests for cycle in office.past()] == [5]


def test_past_cycles_are_newest_first_and_as_many_as_asked_for(office: Office) -> None:
    for month in range(1, 7):
        office.at(f"2027-{month:02d}-15")
        office.count(month)
        office.step()
    requests = [cycle.requests for cycle in office.past()]
    assert requests[:5] == [5, 4, 3, 2, 1]
    assert [c.requests for c in office.ledger.past(office.team, 2, ())] == [5, 4]
    assert office.ledger.past(office.team, 0, ()) == []
    ends = [cycle.end_ms for cycle in office.past()]
    assert ends[1:] == [cycle.start_ms for cycle in office.past()][:-1]


def test_the_meter_does_not_grow_with_the_cycles(office: Office) -> None:
    for day in range(400):
        office.clock.advance(86_400 * (1 + day % 3))
        office.step()
        office.clock.value_ms += GRACE_MS
        office.step()
    assert office.path.stat().st_size <= 4 * RECORD_BYTES
    assert len(office.past()) > 20


def test_a_cost_beyond_all_measure_stops_no_other_teams_books(office: Office) -> None:
    office.change(prices={"uploadedGb": 10**12})
    office.meter.count(office.now(), uploaded=2**62)
    office.meter.count(office.other, requests=3)
    office.at("2026-04-02")
    office.step()
    assert [cycle.cost for cycle in office.past()] == [2**63 - 1]
    assert [cycle.requests for cycle in office.ledger.past(office.other, 9, ())] == [3]


def test_a_record_of_a_team_that_is_unknown_stops_no_other_teams_books(office: Office) -> None:
    stranger = Team("team_stranger", "stranger", "", 0)
    office.meter.count(stranger, requests=1)
    office.count(5)
    office.at("2026-04-02")
    office.meter.count(stranger, requests=1)
    office.step()
    assert [cycle.requests for cycle in office.past()] == [5]


# The rest


def test_what_is_stored_is_seen_between_requests(office: Office) -> None:
    office.step()
    office.stored[office.team.id] = 10
    office.step()
    office.clock.advance(2)
    office.stored[office.team.id] = 0
    office.step()
    office.kill()
    assert office.used(office.team) == {"stored_byte_ms": 20_000}


def test_a_change_of_the_day_is_seen_between_requests(office: Office) -> None:
    office.count(4)
    office.change(cycleDay=11)
    office.step()
    office.at("2026-03-11")
    office.clock.value_ms += GRACE_MS
    office.step()
    assert [(c.requests, c.end_ms) for c in office.past()] == [(4, ms("2026-03-11"))]


def test_last_uses_of_tokens_are_written_when_it_ends(office: Office) -> None:
    token, secret = office.accounts.tokens.create(office.team, "ci")
    office.keeper.open()
    office.authorizer.authorize(b"Bearer " + secret.encode(), b"", Permission.READ)
    used_ms = office.clock.now_ms()
    office.keeper.close()
    [kept] = [t for t in office.accounts.tokens.list_for_team(office.team) if t.id == token.id]
    assert kept.used_at_ms == used_ms


def test_last_uses_of_tokens_are_written_now_and_then(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = office.accounts.tokens.create(office.team, "ci")
    office.authorizer.authorize(b"Bearer " + secret.encode(), b"", Permission.READ)
    office.step()
    [kept] = office.accounts.tokens.list_for_team(office.team)
    assert kept.used_at_ms is None
    monkeypatch.setattr(worker, "LAST_USES_EVERY_S", 0.0)
    office.step()
    [kept] = office.accounts.tokens.list_for_team(office.team)
    assert kept.used_at_ms == office.clock.now_ms()


def test_it_goes_on_by_itself_after_trouble(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "INTERVAL_S", 0.01)
    attempts: list[str] = []
    look = office.accounts.teams.all

    def trouble() -> list[Team]:
        attempts.append("")
        if len(attempts) <= 2:
            raise [ServiceUnavailable("locked"), OSError(errno.EIO, os.strerror(errno.EIO))][
                len(attempts) - 1
            ]
        return look()

    monkeypatch.setattr(office.accounts.teams, "all", trouble)
    office.count(5)
    office.at("2026-04-02")
    office.keeper.open()
    eventually(lambda: office.past())
    office.keeper.close()
    assert [cycle.requests for cycle in office.past()] == [5]


def test_the_ledger_is_plain_rows_in_the_database(office: Office) -> None:
    office.count(5)
    office.at("2026-04-02")
    office.step()
    with closing(sqlite3.connect(office.folder / "hitrate.sqlite")) as database:
        rows = database.execute(
            "SELECT requests FROM usage_cycles WHERE team_id = ?", [office.team.id]
        )
        assert rows.fetchall() == [(5,)]


def test_settings_of_a_pause_and_prices_survive_the_database(capped: Office) -> None:
    capped.count(10)
    capped.step()
    assert capped.now().settings == TeamSettings(
        prices=Prices(million_requests=10**12),
        spend_cap=10_000_000,
        paused_at_ms=capped.clock.now_ms(),
    )
