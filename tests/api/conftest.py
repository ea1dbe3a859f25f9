"""Fixtures of the API tests: a server for team states, and accounts on the shared server."""

from collections.abc import Iterator

import pytest

from tests.support.account_api import AccountApi
from tests.support.server import Server
from tests.support.team_fixture import TeamFixture, TeamServer, run_team_server


@pytest.fixture(scope="package")
def team_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    """A server of this package, because tests read its counts of refused requests."""
    with run_team_server(Server(tmp_path_factory.mktemp("team_server") / "data")) as team_server:
        yield team_server


@pytest.fixture
def team(team_server: TeamServer) -> TeamFixture:
    """A new team for each test."""
    return team_server.create_team()


@pytest.fixture(scope="module")
def api(shared_server: Server) -> Iterator[AccountApi]:
    """Accounts of the shared server; each test creates its own teams and users."""
    api = AccountApi(shared_server)
    yield api
    api.close()
