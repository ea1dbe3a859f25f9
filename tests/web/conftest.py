"""Fixtures for tests that change how a team stands."""

from collections.abc import Iterator

import pytest

from tests.support.server import Server
from tests.web.stage import House, Stage, house_of


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server of their own, because it counts what is refused."""
    with house_of(Server(tmp_path_factory.mktemp("house") / "data")) as house:
        yield house


@pytest.fixture
def stage(house: House) -> Stage:
    """A team of the test's own."""
    return house.stage()
