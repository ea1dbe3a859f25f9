"""Fixtures for tests of the dashboard: a browser, and a server whose time is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitrate.clock import ManualClock
from tests.support.dashboard_fixture import House, build_house
from tests.support.scenario import NOW_MS, Place, place_in_time


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
