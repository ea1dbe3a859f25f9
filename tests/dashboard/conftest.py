"""Fixtures for tests of the dashboard: a browser, and a server whose time is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitrate.clock import ManualClock
from tests.dashboard.house import House, build_house
from tests.dashboard.story import NOW_MS, Place, place_in_time
from tests.login.conftest import _pages_end_with_their_test, axe, browser, packages, page

__all__ = ("_pages_end_with_their_test", "axe", "browser", "packages", "page")


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    """Where the time stands."""
    return ManualClock(NOW_MS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[Place]:
    """A running server at that time; each test brings a team, or shares that of its module."""
    with place_in_time(tmp_path_factory.mktemp("place"), clock) as place:
        yield place


@pytest.fixture
def house(place: Place) -> House:
    """One of the test's own."""
    return build_house(place)


@pytest.fixture(scope="module")
def unchanged(place: Place) -> Iterator[House]:
    """One in which nothing changes, whatever tests try."""
    house = build_house(place)
    before = house.state()
    yield house
    assert house.state() == before
