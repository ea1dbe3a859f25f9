"""Who guesses a password waits, longer each time; who knows it waits as long, and then gets in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitrate.auth.accounts import AccountStore
from hitrate.auth.password_login import FREE_ATTEMPTS, PasswordAuthenticator
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
def password_login(
    tmp_path: Path, clock: ManualClock, metrics: Metrics
) -> Iterator[PasswordAuthenticator]:
    engine = open_database(tmp_path)
    accounts = AccountStore(engine, clock)
    accounts.users.create(ANN, password=RIGHT)
    yield PasswordAuthenticator(accounts.users, metrics, clock)
    engine.dispose()


def wait_s(password_login: PasswordAuthenticator, email: str = ANN) -> int:
    """How long even the right password has to wait."""
    with pytest.raises(RateLimited) as refused:
        password_login.authenticate(email, RIGHT)
    return refused.value.retry_after_s


def test_the_wait_begins_after_five_and_doubles_to_a_minute(
    password_login: PasswordAuthenticator, clock: ManualClock, metrics: Metrics
) -> None:
    for _ in range(FREE_ATTEMPTS):
        assert password_login.authenticate(ANN, "a guess") is None
    waits = []
    for _ in range(8):
        waits.append(wait_s(password_login))
        clock.advance(waits[-1])
        assert password_login.authenticate(f" {ANN.upper()}", "a guess") is None
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert metrics.counters["hitrate_login_failures"] == FREE_ATTEMPTS + 2 * 8
    clock.advance(60)
    assert password_login.authenticate(ANN, RIGHT) is not None
    assert password_login.authenticate(ANN, "a guess") is None


def test_it_is_forgotten_after_a_quarter_of_an_hour(
    password_login: PasswordAuthenticator, clock: ManualClock
) -> None:
    for _ in range(FREE_ATTEMPTS):
        password_login.authenticate("nobody@example.com", "a guess")
    assert wait_s(password_login, "nobody@example.com") == 1
    clock.advance(15 * 60)
    for _ in range(FREE_ATTEMPTS):
        assert password_login.authenticate("nobody@example.com", "a guess") is None


def test_guessing_at_once_is_no_way_around_it(password_login: PasswordAuthenticator) -> None:
    def guess(number: int) -> bool:
        try:
            password_login.authenticate(ANN, f"guess {number}")
        except HitrateError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(guess, range(12))) == FREE_ATTEMPTS
