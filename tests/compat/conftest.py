"""Fixtures that run the real clients, turbo and @vercel/sdk, against a running server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support import monorepo
from tests.support.browser_fixtures import skip_or_fail
from tests.support.monorepo import Monorepo
from tests.support.node_packages import NodePackages, NodeUnavailableError, install
from tests.support.recording_proxy import RecordingProxy
from tests.support.server import Server
from tests.support.turbo_harness import RELEASES, Release, TurboHarness

HarnessFactory = Callable[[Server], AbstractContextManager[TurboHarness]]


@pytest.fixture(scope="session")
def node_packages() -> NodePackages:
    """The installed packages: releases of turbo, and @vercel/sdk."""
    try:
        return install()
    except NodeUnavailableError as error:
        skip_or_fail(error)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Monorepo]:
    """One unbuilt monorepo to copy for each format of turbo.json, by `tasks_key`."""
    directory = tmp_path_factory.mktemp("templates")
    keys = {release.tasks_key for release in RELEASES}
    return {key: monorepo.generate(directory / key, tasks_key=key) for key in keys}


@pytest.fixture(scope="session")
def read_only_token(shared_server: Server) -> str:
    """A read-only token of the shared server's team."""
    return shared_server.create_token("--read-only")


@pytest.fixture(params=RELEASES, ids=lambda release: release.alias)
def release(request: pytest.FixtureRequest) -> Release:
    """Each release of turbo."""
    release = request.param
    assert isinstance(release, Release)
    return release


@pytest.fixture
def create_harness(
    release: Release, node_packages: NodePackages, templates: dict[str, Monorepo], tmp_path: Path
) -> HarnessFactory:
    """A function that sets up a release of turbo for a server, in a new unbuilt monorepo.

    At the end, the server's recorded events are checked against the recorded exchanges.
    """
    try:
        turbo = node_packages.turbo(release.alias)
    except NodeUnavailableError as error:
        skip_or_fail(error)

    @contextmanager
    def create_harness(server: Server) -> Iterator[TurboHarness]:
        repo = templates[release.tasks_key].copy_to(tmp_path / "repo")
        with RecordingProxy(server.url) as proxy:
            harness = TurboHarness(release, turbo, repo, server, proxy, server.token)
            yield harness
            harness.check_recorded_events()

    return create_harness


@pytest.fixture
def harness(create_harness: HarnessFactory, shared_server: Server) -> Iterator[TurboHarness]:
    """A harness on the shared server, which has no artifacts of its monorepo yet."""
    with create_harness(shared_server) as harness:
        yield harness


@pytest.fixture
def killable_harness(create_harness: HarnessFactory, server: Server) -> Iterator[TurboHarness]:
    """A harness with its own server, which the test may kill."""
    with create_harness(server) as harness:
        yield harness
