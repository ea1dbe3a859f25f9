"""Fixtures that every room's tests may use."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.server import Server

# How fast a machine is says nothing of what runs on it; and CI tries the same examples each time.
settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow,),
    derandomize="CI" in os.environ,
)
settings.load_profile("unhurried")

pytest_plugins = ["tests.support.browser_fixtures"]

StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers, each on a new data folder, with the options given; ends them."""
    servers: list[Server] = []

    def start(*options: str, data_dir: Path | None = None) -> Server:
        server = Server(data_dir or tmp_path / f"data{len(servers)}", *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A running server with an empty data folder."""
    return start_server()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for tests that only look at answers; each makes a team or a session of its own."""
    server = Server(tmp_path_factory.mktemp("shared") / "data")
    server.start()
    yield server
    server.kill()
