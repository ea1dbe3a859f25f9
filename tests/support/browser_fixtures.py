"""Fixtures: a browser, an identity provider and a callback listener."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Page

from tests.support import node_packages
from tests.support.browser import Browser, BrowserUnavailableError
from tests.support.callback_listener import CallbackListener, start_callback_listener
from tests.support.node_packages import NodePackages
from tests.support.oidc_provider import ProviderProcess

NODE_PROJECT_DIR = Path(__file__).resolve().parents[1] / "browser"
StartProvider = Callable[..., ProviderProcess]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of all tests. Pages are closed at the end of each test."""
    browser = Browser()
    try:
        browser.open()
    except BrowserUnavailableError as error:
        skip_or_fail(error)
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def _close_pages(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    browser = getattr(request.node, "funcargs", {}).get("browser")
    if browser is not None:
        browser.close_pages()


@pytest.fixture
def page(browser: Browser) -> Page:
    """A new page without cookies."""
    return browser.new_page()


@pytest.fixture(scope="session")
def packages() -> NodePackages:
    """The installed Node packages: oidc-provider and axe-core."""
    try:
        return node_packages.install(source=NODE_PROJECT_DIR)
    except node_packages.NodeUnavailableError as error:
        skip_or_fail(error)


@pytest.fixture(scope="session")
def axe(packages: NodePackages) -> Path:
    """The script of axe-core, for `accessibility_violations`."""
    return packages.directory / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def start_provider(packages: NodePackages, tmp_path: Path) -> Iterator[StartProvider]:
    """A function that starts an identity provider with the given redirect URIs."""
    providers: list[ProviderProcess] = []

    def start(*redirect_uris: str, **options: str) -> ProviderProcess:
        log_path = tmp_path / f"provider{len(providers)}.log"
        provider = ProviderProcess(packages, log_path, *redirect_uris, **options)
        providers.append(provider)
        provider.start()
        return provider

    yield start
    for provider in providers:
        provider.stop()


@pytest.fixture
def listener() -> Iterator[CallbackListener]:
    """An HTTP server on this computer that records the callbacks of a login."""
    with start_callback_listener() as listener:
        yield listener


def skip_or_fail(error: Exception) -> NoReturn:
    """Skip a test whose tool is missing; in CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"a tool is missing: {error}", pytrace=False)
    pytest.skip(f"a tool is missing: {error}")
