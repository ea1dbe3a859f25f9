"""The browser that tests look through shows what is there, and is not noticed by other tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import browser as module
from tests.support import node_packages
from tests.support.browser import Browser, UnavailableError, errors_of, serious_findings
from tests.support.browser_fixtures import HERE, go_without

GOOD = """<!doctype html><html lang="en"><title>Good</title>
<main><h1>Good</h1><label>Name <input></label></main></html>"""
BAD = """<!doctype html><html lang="en"><title>Bad</title>
<main><h1>Bad</h1><input><p style="color: #ccc">faint</p></main></html>"""
STRICT = {
    "content-type": "text/html",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with Browser() as browser:
            yield browser
    except UnavailableError as error:
        go_without(error)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    chromium.close_pages()


@pytest.fixture(scope="module")
def axe() -> Path:
    try:
        return (
            node_packages.install(source=HERE).folder / "node_modules" / "axe-core" / "axe.min.js"
        )
    except node_packages.UnavailableError as error:
        go_without(error)


def test_a_page_shows_what_is_there(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(GOOD)
    assert page.get_by_role("heading").inner_text() == "Good"
    assert page.evaluate("[innerWidth, innerHeight]") == [1280, 800]
    assert errors_of(page) == []


def test_a_page_is_as_wide_and_as_dark_as_asked(browser: Browser) -> None:
    page = browser.new_page(viewport=(320, 640), colour_scheme="dark")
    assert page.evaluate("innerWidth") == 320
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_a_page_may_go_without_scripts(browser: Browser) -> None:
    page = browser.new_page(scripts=False)
    page.set_content("<noscript>none</noscript><script>document.write('some')</script>")
    assert page.inner_text("body") == "none"


def test_each_page_has_its_own_cookies(browser: Browser) -> None:
    one, other = browser.new_page(), browser.new_page()
    one.context.add_cookies([{"name": "who", "value": "one", "url": "http://127.0.0.1"}])
    assert len(one.context.cookies()) == 1
    assert other.context.cookies() == []


def test_what_goes_wrong_on_a_page_is_known(browser: Browser) -> None:
    page, other = browser.new_page(), browser.new_page()
    page.set_content("<script>console.error('said'); console.log('aside'); thrown()</script>")
    said, thrown = errors_of(page)
    assert said.startswith("said")
    assert "thrown is not defined" in thrown
    assert errors_of(other) == []


async def one() -> int:
    await asyncio.sleep(0)
    return 1


def test_other_tests_may_run_event_loops_once_the_pages_are_closed(browser: Browser) -> None:
    for _ in range(2):
        page = browser.new_page()
        page.set_content(GOOD)
        browser.close_pages()
        assert asyncio.run(one()) == 1


@pytest.mark.usefixtures("browser")
def test_they_may_also_once_a_browser_with_pages_is_closed() -> None:
    with Browser() as another:
        another.new_page().set_content(GOOD)
    another.close()
    assert asyncio.run(one()) == 1


def test_a_page_that_ended_badly_does_not_stay(browser: Browser) -> None:
    browser.new_page().close()
    browser.new_page().context.close()
    browser.close_pages()
    assert browser.new_page().evaluate("1 + 1") == 2


def test_what_is_hard_to_use_is_found(browser: Browser, axe: Path) -> None:
    page = browser.new_page()
    page.set_content(BAD)
    label, contrast = sorted(serious_findings(page, axe))
    assert label.startswith("critical: label at input")
    assert contrast.startswith("serious: color-contrast at p")


def test_what_is_easy_to_use_is_not_found_also_under_a_strict_policy(
    browser: Browser, axe: Path
) -> None:
    page = browser.new_page()
    page.route("**", lambda route: route.fulfill(status=200, headers=STRICT, body=GOOD))
    page.goto("http://127.0.0.1/")
    assert serious_findings(page, axe) == []
    assert errors_of(page) == []


def test_without_chromium_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES", ("no-such-chromium",))
    with pytest.raises(UnavailableError, match="no-such-chromium"):
        Browser().open()
    assert asyncio.run(one()) == 1
