"""Owns the fixtures that put a real browser and a real provider before a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Page

from tests.support import node_packages
from tests.support.browser import Browser, UnavailableError
from tests.support.callback_listener import Listener, listening
from tests.support.node_packages import Clients
from tests.support.oidc_provider import Provider

HERE = Path(__file__).resolve().parents[1] / "browser"
StartProvider = Callable[..., Provider]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all; what a test opens in it is closed when the test ends."""
    browser = Browser()
    try:
        browser.open()
    except UnavailableError as error:
        go_without(error)
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def _pages_end_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    browser = getattr(request.node, "funcargs", {}).get("browser")
    if browser is not None:
        browser.close_pages()


@pytest.fixture
def page(browser: Browser) -> Page:
    """A new person's page."""
    return browser.new_page()


@pytest.fixture(scope="session")
def packages() -> Clients:
    """The provider and axe-core."""
    try:
        return node_packages.install(source=HERE)
    except node_packages.UnavailableError as error:
        go_without(error)


@pytest.fixture(scope="session")
def axe(packages: Clients) -> Path:
    """The script that `serious_findings` wants."""
    return packages.folder / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def start_provider(packages: Clients, tmp_path: Path) -> Iterator[StartProvider]:
    """Starts providers that send people back to the addresses given; ends them."""
    providers: list[Provider] = []

    def start(*redirect_uris: str, **options: str) -> Provider:
        log_path = tmp_path / f"provider{len(providers)}.log"
        provider = Provider(packages, log_path, *redirect_uris, **options)
        providers.append(provider)
        provider.start()
        return provider

    yield start
    for provider in providers:
        provider.stop()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A program on this computer that a browser is sent back to."""
    with listening() as listener:
        yield listener


def go_without(error: Exception) -> NoReturn:
    """Where a tool cannot be had the tests are skipped, but never in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"a tool is missing: {error}", pytrace=False)
    pytest.skip(f"a tool is missing: {error}")
