"""Owns the fixtures that put the real clients before a running server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import monorepo, node_packages
from tests.support.monorepo import Monorepo
from tests.support.node_packages import Clients
from tests.support.recording_proxy import RecordingProxy
from tests.support.server import Server
from tests.support.turbo_harness import RELEASES, Release, Workbench

BenchFor = Callable[[Server], AbstractContextManager[Workbench]]


@pytest.fixture(scope="session")
def clients() -> Clients:
    try:
        return node_packages.install()
    except node_packages.UnavailableError as error:
        _go_without(error)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Monorepo]:
    """One pristine monorepo for each form of turbo.json, to be copied."""
    folder = tmp_path_factory.mktemp("templates")
    keys = {release.tasks_key for release in RELEASES}
    return {key: monorepo.generate(folder / key, tasks_key=key) for key in keys}


@pytest.fixture(scope="session")
def read_only_token(shared_server: Server) -> str:
    return shared_server.create_token("--read-only")


@pytest.fixture(params=RELEASES, ids=lambda release: release.alias)
def release(request: pytest.FixtureRequest) -> Release:
    found = request.param
    assert isinstance(found, Release)
    return found


@pytest.fixture
def bench_for(
    release: Release, clients: Clients, templates: dict[str, Monorepo], tmp_path: Path
) -> BenchFor:
    """Sets up a release of turbo, before a server, in a monorepo which it has never built.

    In the end the server's record is held against all that passed between it and turbo.
    """
    try:
        turbo = clients.turbo(release.alias)
    except node_packages.UnavailableError as error:
        _go_without(error)

    @contextmanager
    def bench_for(server: Server) -> Iterator[Workbench]:
        repo = templates[release.tasks_key].copy_to(tmp_path / "repo")
        with RecordingProxy(server.url) as proxy:
            bench = Workbench(release, turbo, repo, server, proxy, server.token)
            yield bench
            bench.check()

    return bench_for


@pytest.fixture
def bench(bench_for: BenchFor, shared_server: Server) -> Iterator[Workbench]:
    """A bench on the shared server, which has nothing yet of what this monorepo asks for."""
    with bench_for(shared_server) as bench:
        yield bench


@pytest.fixture
def mortal_bench(bench_for: BenchFor, server: Server) -> Iterator[Workbench]:
    """A bench whose server may be killed, since no other test has it."""
    with bench_for(server) as bench:
        yield bench


def _go_without(error: node_packages.UnavailableError) -> NoReturn:
    """Where the clients cannot be had the tests are skipped, but never in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"the real clients are missing: {error}", pytrace=False)
    pytest.skip(f"the real clients are missing: {error}")
