"""Owns the fixtures that put the real clients before a running server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients import monorepo, node
from tests.clients.monorepo import Monorepo
from tests.clients.node import Clients
from tests.clients.proxy import RecordingProxy
from tests.clients.workbench import RELEASES, Release, Server, Workbench


@pytest.fixture(scope="session")
def clients() -> Clients:
    """The installed clients. Where they cannot be had the tests skip, but never in CI."""
    try:
        return node.install()
    except node.UnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the real clients are missing: {error}", pytrace=False)
        pytest.skip(f"the real clients are missing: {error}")


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Monorepo]:
    """One pristine monorepo for each form of turbo.json, to be copied."""
    folder = tmp_path_factory.mktemp("templates")
    keys = {release.tasks_key for release in RELEASES}
    return {key: monorepo.generate(folder / key, tasks_key=key) for key in keys}


@pytest.fixture
def proxy(server: Server) -> Iterator[RecordingProxy]:
    with RecordingProxy(server.url) as proxy:
        yield proxy


@pytest.fixture(params=RELEASES, ids=lambda release: release.alias)
def release(request: pytest.FixtureRequest) -> Release:
    found = request.param
    assert isinstance(found, Release)
    return found


@pytest.fixture
def bench(
    release: Release,
    clients: Clients,
    templates: dict[str, Monorepo],
    server: Server,
    proxy: RecordingProxy,
    tmp_path: Path,
) -> Iterator[Workbench]:
    """A release of turbo in a monorepo which it has never built, and an empty server.

    After the test the server's record is held against all that passed during it.
    """
    try:
        turbo = clients.turbo(release.alias)
    except node.UnavailableError as error:
        pytest.skip(str(error))
    repo = templates[release.tasks_key].copy_to(tmp_path / "repo")
    bench = Workbench(release, turbo, repo, server, proxy, server.token)
    yield bench
    bench.check()
