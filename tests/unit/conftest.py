"""Fixtures of the unit tests: accounts, analytics and the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from hitrate.teams import passwords
from tests.support.account_fixture import AccountFixture
from tests.support.analytics_fixture import AnalyticsFixture
from tests.support.database import put_empty_database
from tests.support.offline_cli import OfflineCli


@pytest.fixture
def account_fixture(tmp_path: Path) -> Iterator[AccountFixture]:
    """An empty database with a manual clock."""
    put_empty_database(tmp_path)
    account_fixture = AccountFixture(tmp_path)
    yield account_fixture
    account_fixture.close()


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use argon2id parameters that are cheap to compute."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", hasher)
    dummy = hasher.hash("nobody has this password")
    monkeypatch.setattr(passwords, "_dummy_hash", lambda: dummy)


@pytest.fixture(scope="module")
def analytics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnalyticsFixture]:
    """A database with two teams; event stores come and go beside it."""
    analytics = AnalyticsFixture(tmp_path_factory.mktemp("analytics"))
    yield analytics
    analytics.close()


@pytest.fixture
def offline_cli(tmp_path: Path, quick_passwords: None) -> OfflineCli:  # noqa: ARG001  # reason: a fixture
    """The command line on an empty data directory."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    put_empty_database(data_dir)
    return OfflineCli(data_dir)
