"""Fixtures of all tests: servers, settings of Hypothesis, and the order of files."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.server import Server

# No deadline: the speed of the machine must not fail a test. CI runs the same examples each time.
settings.register_profile(
    "no_deadline",
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow,),
    derandomize="CI" in os.environ,
)
settings.load_profile("no_deadline")

pytest_plugins = ["tests.support.browser_fixtures"]

StartServer = Callable[..., Server]

LONGEST_FILES = (
    "compat/turbo/test_team_states.py",
    "api/test_analytics.py",
    "compat/turbo/test_builds.py",
    "compat/turbo/test_run_counts.py",
    "api/test_export.py",
    "api/test_team_states.py",
    "faults/test_kill.py",
    "faults/test_event_store_unavailable.py",
    "browser/test_dashboard_appearance.py",
    "browser/test_login_appearance.py",
    "browser/test_single_sign_on.py",
    "compat/turbo/test_signatures.py",
    "compat/turbo/test_authorization.py",
    "faults/test_metering.py",
    "browser/test_end_to_end.py",
    "compat/turbo/test_login.py",
)
"""Files that take more than 30 s, longest first; `scripts/test` prints what takes long."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest files to the front.

    `--dist loadfile --no-loadscope-reorder` gives each process the next file of this order. A long
    file at the end would keep one process running alone.
    """
    order = {Path(__file__).parent / file: number for number, file in enumerate(LONGEST_FILES)}
    missing = [str(path) for path in order if not path.is_file()]
    if missing:
        raise pytest.UsageError(f"LONGEST_FILES of tests/conftest.py names {missing}: correct it.")
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with options, each on a new data directory, and kills them at the end."""
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
    """A running server with an empty data directory."""
    return start_server()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for many tests, each of which creates its own team or session."""
    server = Server(tmp_path_factory.mktemp("shared") / "data")
    server.start()
    yield server
    server.kill()
