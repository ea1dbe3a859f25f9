"""The browser harness of the tests itself, and that it leaves other tests undisturbed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import browser as browser_module
from tests.support import node_packages
from tests.support.browser import (
    Browser,
    BrowserUnavailableError,
    accessibility_violations,
    console_errors,
)
from tests.support.browser_fixtures import NODE_PROJECT_DIR, skip_or_fail

ACCESSIBLE_PAGE = """<!doctype html><html lang="en"><title>Good</title>
<main><h1>Good</h1><label>Name <input></label></main></html>"""
INACCESSIBLE_PAGE = """<!doctype html><html lang="en"><title>Bad</title>
<main><h1>Bad</h1><input><p style="color: #ccc">low contrast</p></main></html>"""
STRICT_CSP_HEADERS = {
    "content-type": "text/html",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with Browser() as browser:
            yield browser
    except BrowserUnavailableError as error:
        skip_or_fail(error)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    chromium.close_pages()


@pytest.fixture(scope="module")
def axe() -> Path:
    try:
        return (
            node_packages.install(source=NODE_PROJECT_DIR).directory
            / "node_modules"
            / "axe-core"
            / "axe.min.js"
        )
    except node_packages.NodeUnavailableError as error:
        skip_or_fail(error)


def test_page_renders_html(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(ACCESSIBLE_PAGE)
    assert page.get_by_role("heading").inner_text() == "Good"
    assert page.evaluate("[innerWidth, innerHeight]") == [1280, 800]
    assert console_errors(page) == []


def test_page_has_the_requested_width_and_color_scheme(browser: Browser) -> None:
    page = browser.new_page(viewport=(320, 640), color_scheme="dark")
    assert page.evaluate("innerWidth") == 320
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_page_can_disable_scripts(browser: Browser) -> None:
    page = browser.new_page(scripts=False)
    page.set_content("<noscript>none</noscript><script>document.write('some')</script>")
    assert page.inner_text("body") == "none"


def test_pages_do_not_share_cookies(browser: Browser) -> None:
    one, other = browser.new_page(), browser.new_page()
    one.context.add_cookies([{"name": "who", "value": "one", "url": "http://127.0.0.1"}])
    assert len(one.context.cookies()) == 1
    assert other.context.cookies() == []


def test_console_errors_include_logged_and_thrown_errors_of_that_page_only(
    browser: Browser,
) -> None:
    page, other = browser.new_page(), browser.new_page()
    page.set_content(
        "<script>console.error('logged'); console.log('info'); undefined_function()</script>"
    )
    logged, thrown = console_errors(page)
    assert logged.startswith("logged")
    assert "undefined_function is not defined" in thrown
    assert console_errors(other) == []


async def return_one() -> int:
    await asyncio.sleep(0)
    return 1


def test_asyncio_run_works_after_pages_are_closed(browser: Browser) -> None:
    for _ in range(2):
        page = browser.new_page()
        page.set_content(ACCESSIBLE_PAGE)
        browser.close_pages()
        assert asyncio.run(return_one()) == 1


@pytest.mark.usefixtures("browser")
def test_asyncio_run_works_after_a_browser_with_open_pages_is_closed() -> None:
    with Browser() as another:
        another.new_page().set_content(ACCESSIBLE_PAGE)
    another.close()
    assert asyncio.run(return_one()) == 1


def test_close_pages_accepts_pages_and_contexts_that_are_already_closed(browser: Browser) -> None:
    browser.new_page().close()
    browser.new_page().context.close()
    browser.close_pages()
    assert browser.new_page().evaluate("1 + 1") == 2


def test_accessibility_violations_are_found(browser: Browser, axe: Path) -> None:
    page = browser.new_page()
    page.set_content(INACCESSIBLE_PAGE)
    label, contrast = sorted(accessibility_violations(page, axe))
    assert label.startswith("critical: label at input")
    assert contrast.startswith("serious: color-contrast at p")


def test_accessible_page_has_no_violations_under_a_strict_csp(browser: Browser, axe: Path) -> None:
    page = browser.new_page()
    page.route(
        "**",
        lambda route: route.fulfill(status=200, headers=STRICT_CSP_HEADERS, body=ACCESSIBLE_PAGE),
    )
    page.goto("http://127.0.0.1/")
    assert accessibility_violations(page, axe) == []
    assert console_errors(page) == []


def test_missing_chromium_raises_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "EXECUTABLES", ("no-such-chromium",))
    with pytest.raises(BrowserUnavailableError, match="no-such-chromium"):
        Browser().open()
    assert asyncio.run(return_one()) == 1
