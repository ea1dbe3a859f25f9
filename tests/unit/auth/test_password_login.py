"""Password authentication: repeated failures delay every attempt for the account."""

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

EMAIL, PASSWORD = "ann@example.com", "correct horse"


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
    accounts.users.create(EMAIL, password=PASSWORD)
    yield PasswordAuthenticator(accounts.users, metrics, clock)
    engine.dispose()


def delay_s(password_login: PasswordAuthenticator, email: str = EMAIL) -> int:
    """Return the delay, in seconds, that even the right password gets."""
    with pytest.raises(RateLimited) as error_info:
        password_login.authenticate(email, PASSWORD)
    return error_info.value.retry_after_s


def test_delay_starts_after_five_failures_and_doubles_up_to_a_minute(
    password_login: PasswordAuthenticator, clock: ManualClock, metrics: Metrics
) -> None:
    for _ in range(FREE_ATTEMPTS):
        assert password_login.authenticate(EMAIL, "a guess") is None
    delays = []
    for _ in range(8):
        delays.append(delay_s(password_login))
        clock.advance(delays[-1])
        assert password_login.authenticate(f" {EMAIL.upper()}", "a guess") is None
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert metrics.counters["hitrate_login_failures"] == FREE_ATTEMPTS + 2 * 8
    clock.advance(60)
    assert password_login.authenticate(EMAIL, PASSWORD) is not None
    assert password_login.authenticate(EMAIL, "a guess") is None


def test_failures_are_forgotten_after_fifteen_minutes(
    password_login: PasswordAuthenticator, clock: ManualClock
) -> None:
    for _ in range(FREE_ATTEMPTS):
        password_login.authenticate("nobody@example.com", "a guess")
    assert delay_s(password_login, "nobody@example.com") == 1
    clock.advance(15 * 60)
    for _ in range(FREE_ATTEMPTS):
        assert password_login.authenticate("nobody@example.com", "a guess") is None


def test_concurrent_attempts_do_not_bypass_the_limit(password_login: PasswordAuthenticator) -> None:
    def guess(number: int) -> bool:
        try:
            password_login.authenticate(EMAIL, f"guess {number}")
        except HitrateError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(guess, range(12))) == FREE_ATTEMPTS
