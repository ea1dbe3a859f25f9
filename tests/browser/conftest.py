"""Fixtures for tests of the dashboard: a server with a manual clock, and teams on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitrate.clock import ManualClock
from tests.support.dashboard_fixture import DashboardFixture, create_dashboard_fixture
from tests.support.scenario import NOW_MS, PageServer, run_manual_clock_page_server


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    """The clock of the server, at `NOW_MS`."""
    return ManualClock(NOW_MS)


@pytest.fixture(scope="module")
def page_server(
    tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> Iterator[PageServer]:
    """A running server; tests create their own teams on it."""
    with run_manual_clock_page_server(tmp_path_factory.mktemp("page-server"), clock) as server:
        yield server


@pytest.fixture
def dashboard(page_server: PageServer) -> DashboardFixture:
    """A team of the test's own."""
    return create_dashboard_fixture(page_server)


@pytest.fixture(scope="module")
def unchanged_dashboard(page_server: PageServer) -> Iterator[DashboardFixture]:
    """A team that the tests of a module share; fails if any of them changes it."""
    dashboard = create_dashboard_fixture(page_server)
    before = dashboard.state()
    yield dashboard
    assert dashboard.state() == before
