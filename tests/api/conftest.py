"""Fixtures for tests that change how a team stands."""

from collections.abc import Iterator

import pytest

from tests.support.account_api import Api
from tests.support.server import Server
from tests.support.team_fixture import House, Stage, house_of


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server of their own, because it counts what is refused."""
    with house_of(Server(tmp_path_factory.mktemp("house") / "data")) as house:
        yield house


@pytest.fixture
def stage(house: House) -> Stage:
    """A team of the test's own."""
    return house.stage()


@pytest.fixture(scope="module")
def api(shared_server: Server) -> Iterator[Api]:
    """The accounts of a running server; each test makes teams and people of its own."""
    api = Api(shared_server)
    yield api
    api.close()
