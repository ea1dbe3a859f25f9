"""Fixtures of command tests: a command line on a data directory, or with a server."""

from collections.abc import Iterator

import pytest

from tests.support.remote_cli import FakeServer, RemoteCli, run_fake_server
from tests.support.server import Server


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team of the module."""
    return RemoteCli(shared_server)


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    """A server that returns any response."""
    with run_fake_server() as fake:
        yield fake
