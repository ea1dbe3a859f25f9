"""A headless Chromium for tests of pages.

Each page has a browser context of its own, so pages share no cookies. Playwright sets the running
event loop of its thread, which makes `asyncio.run` fail; the loop is set here only while a page is
open, so that other tests can call `asyncio.run`. The browser must be installed; it is never
downloaded.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from weakref import WeakKeyDictionary

from playwright import sync_api
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, WebError

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
LAUNCH_FLAGS = (
    "--no-sandbox",  # the sandbox does not work as root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm is small in containers
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_S = 30.0

FIND_VIOLATIONS_JS = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, impact, nodes }) => nodes.map(
        ({ target, failureSummary }) => [impact, id, target.join(" "), failureSummary]));
}"""


class BrowserUnavailableError(Exception):
    """No browser can be started; the message says why and how to fix it."""


@dataclass(frozen=True)
class _Running:
    playwright: Playwright
    chromium: sync_api.Browser
    loop: asyncio.AbstractEventLoop


class Browser:
    """A Chromium process. Open and close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._contexts: list[BrowserContext] = []

    def open(self) -> None:
        """Start Chromium with an empty profile. Raises BrowserUnavailableError."""
        if self._running is not None:
            return
        program = find_chromium()
        playwright = sync_api.sync_playwright().start()
        loop = asyncio.get_running_loop()
        try:
            chromium = playwright.chromium.launch(executable_path=program, args=LAUNCH_FLAGS)
        except BaseException:
            playwright.stop()
            raise
        sync_api.expect.set_options(timeout=TIMEOUT_S * 1000)
        self._running = _Running(playwright, chromium, loop)
        _set_running_loop(None)

    def close(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        self._contexts.clear()
        _set_running_loop(running.loop)
        try:
            running.chromium.close()
        finally:
            running.playwright.stop()

    def new_page(
        self,
        *,
        viewport: tuple[int, int] = (1280, 800),
        color_scheme: Literal["light", "dark"] = "light",
        scripts: bool = True,
        time_zone: str = "UTC",
    ) -> Page:
        """Open a page in a context of its own. It stays open until `close_pages`."""
        assert self._running is not None, "the browser is not open"
        width, height = viewport
        _set_running_loop(self._running.loop)
        context = self._running.chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=color_scheme,
            java_script_enabled=scripts,
            timezone_id=time_zone,
        )
        self._contexts.append(context)
        context.set_default_timeout(TIMEOUT_S * 1000)
        _listen(context)
        return context.new_page()

    def close_pages(self) -> None:
        """Close all pages and delete their cookies. Afterwards `asyncio.run` works again."""
        if not self._contexts:
            return
        try:
            while self._contexts:
                self._contexts.pop().close()
        finally:
            _set_running_loop(None)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def find_chromium() -> Path:
    """Return the path of the installed Chromium. Raises BrowserUnavailableError."""
    for name in EXECUTABLES:
        path = shutil.which(name) or shutil.which(name, path="/usr/bin")
        if path:
            return Path(path)
    raise BrowserUnavailableError(f"Chromium is not installed; looked for {', '.join(EXECUTABLES)}")


def console_errors(page: Page) -> list[str]:
    """Return errors logged or thrown by the page and its popups, oldest first.

    A failed request logs one too: "Failed to load resource: ... status of 401".
    """
    if not page.is_closed():
        page.evaluate("0")  # returns after all earlier events have been received
    return list(_errors[page.context])


def accessibility_violations(page: Page, axe: Path) -> list[str]:
    """Return the serious and critical violations that the axe-core script `axe` finds."""
    page.evaluate(axe.read_text(encoding="utf-8"))
    violations: list[tuple[str, str, str, str]] = page.evaluate(FIND_VIOLATIONS_JS)
    return [
        f"{impact}: {rule} at {selector}: {' '.join(summary.split())}"
        for impact, rule, selector, summary in violations
        if impact in {"serious", "critical"}
    ]


_errors: WeakKeyDictionary[BrowserContext, list[str]] = WeakKeyDictionary()


def _listen(context: BrowserContext) -> None:
    errors = _errors[context] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location['url']})")

    def on_error(error: WebError) -> None:
        errors.append(str(error.error))

    context.on("console", on_console)
    context.on("weberror", on_error)


def _set_running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    # Playwright sets the loop after each call and never resets it.
    asyncio._set_running_loop(loop)
