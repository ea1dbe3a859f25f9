"""Who guesses a password waits, longer each time; who knows it waits as long, and then gets in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitrate.auth.accounts import AccountStore
from hitrate.auth.password_login import FREE, PasswordAuthenticator
from hitrate.clock import ManualClock
from hitrate.db.engine import open_database
from hitrate.errors import HitrateError, RateLimited
from hitrate.metrics import Metrics

ANN, RIGHT = "ann@example.com", "correct horse"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def doorman(
    tmp_path: Path, clock: ManualClock, metrics: Metrics
) -> Iterator[PasswordAuthenticator]:
    engine = open_database(tmp_path)
    accounts = AccountStore(engine, clock)
    accounts.users.create(ANN, password=RIGHT)
    yield PasswordAuthenticator(accounts.users, metrics, clock)
    engine.dispose()


def wait_s(doorman: PasswordAuthenticator, email: str = ANN) -> int:
    """How long even the right password has to wait."""
    with pytest.raises(RateLimited) as refused:
        doorman.admit(email, RIGHT)
    return refused.value.retry_after_s


def test_the_wait_begins_after_five_and_doubles_to_a_minute(
    doorman: PasswordAuthenticator, clock: ManualClock, metrics: Metrics
) -> None:
    for _ in range(FREE):
        assert doorman.admit(ANN, "a guess") is None
    waits = []
    for _ in range(8):
        waits.append(wait_s(doorman))
        clock.advance(waits[-1])
        assert doorman.admit(f" {ANN.upper()}", "a guess") is None
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert metrics.counters["hitrate_sign_ins_refused"] == FREE + 2 * 8
    clock.advance(60)
    assert doorman.admit(ANN, RIGHT) is not None
    assert doorman.admit(ANN, "a guess") is None


def test_it_is_forgotten_after_a_quarter_of_an_hour(
    doorman: PasswordAuthenticator, clock: ManualClock
) -> None:
    for _ in range(FREE):
        doorman.admit("nobody@example.com", "a guess")
    assert wait_s(doorman, "nobody@example.com") == 1
    clock.advance(15 * 60)
    for _ in range(FREE):
        assert doorman.admit("nobody@example.com", "a guess") is None


def test_guessing_at_once_is_no_way_around_it(doorman: PasswordAuthenticator) -> None:
    def guess(number: int) -> bool:
        try:
            doorman.admit(ANN, f"guess {number}")
        except HitrateError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(guess, range(12))) == FREE
