"""Owns a real headless Chromium, for tests that look at pages as a person does.

Promises that each page is a person of its own, with no cookies from another, and that no test
beside it notices the browser: Playwright marks its thread as running an event loop, which makes
`asyncio.run` refuse; here the mark stands only while a page is open. A test that has a page open
cannot call `asyncio.run` itself. Never downloads a browser, and never decides what an absent one
means for a test.
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

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--no-sandbox",  # it is not to be had as root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # which is small in containers
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_S = 30.0

FIND_VIOLATIONS = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, impact, nodes }) => nodes.map(
        ({ target, failureSummary }) => [impact, id, target.join(" "), failureSummary]));
}"""


class UnavailableError(Exception):
    """No browser can be run here; the message says why and what would help."""


@dataclass(frozen=True)
class _Running:
    playwright: Playwright
    chromium: sync_api.Browser
    loop: asyncio.AbstractEventLoop


class Browser:
    """One Chromium for as many pages as tests like; opened and closed, or used with `with`."""

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._contexts: list[BrowserContext] = []

    def open(self) -> None:
        """Start it, on a user folder that is new and goes when it ends."""
        if self._running is not None:
            return
        program = find_chromium()
        playwright = sync_api.sync_playwright().start()
        loop = asyncio.get_running_loop()
        try:
            chromium = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        except BaseException:
            playwright.stop()
            raise
        sync_api.expect.set_options(timeout=WAIT_S * 1000)
        self._running = _Running(playwright, chromium, loop)
        _mark(None)

    def close(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        self._contexts.clear()
        _mark(running.loop)
        try:
            running.chromium.close()
        finally:
            running.playwright.stop()

    def new_page(
        self,
        *,
        viewport: tuple[int, int] = (1280, 800),
        colour_scheme: Literal["light", "dark"] = "light",
        scripts: bool = True,
        time_zone: str = "UTC",
    ) -> Page:
        """A page in a private context of its own; it lives until `close_pages`.

        Without `scripts` it shows what those see who switched JavaScript off.
        """
        assert self._running is not None, "the browser is not open"
        width, height = viewport
        _mark(self._running.loop)
        context = self._running.chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=colour_scheme,
            java_script_enabled=scripts,
            timezone_id=time_zone,
        )
        self._contexts.append(context)
        context.set_default_timeout(WAIT_S * 1000)
        _listen(context)
        return context.new_page()

    def close_pages(self) -> None:
        """Close every page and forget its cookies; from then on `asyncio.run` works again."""
        if not self._contexts:
            return
        try:
            while self._contexts:
                self._contexts.pop().close()
        finally:
            _mark(None)

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
    """The Chromium of this machine."""
    for name in NAMES:
        found = shutil.which(name) or shutil.which(name, path="/usr/bin")
        if found:
            return Path(found)
    raise UnavailableError(f"no Chromium: install it; looked for {', '.join(NAMES)}")


def errors_of(page: Page) -> list[str]:
    """What the page and its popups put on the console as errors or threw, oldest first.

    A refused request is on it too: "Failed to load resource: ... status of 401".
    """
    if not page.is_closed():
        page.evaluate("0")  # what was said before this answer has arrived with it
    return list(_errors[page.context])


def serious_findings(page: Page, axe: Path) -> list[str]:
    """What axe-core, whose script is the file `axe`, finds serious or critical on the page now."""
    page.evaluate(axe.read_text(encoding="utf-8"))
    violations: list[tuple[str, str, str, str]] = page.evaluate(FIND_VIOLATIONS)
    return [
        f"{impact}: {rule} at {place}: {' '.join(summary.split())}"
        for impact, rule, place, summary in violations
        if impact in {"serious", "critical"}
    ]


_errors: WeakKeyDictionary[BrowserContext, list[str]] = WeakKeyDictionary()


def _listen(context: BrowserContext) -> None:
    errors = _errors[context] = []

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location['url']})")

    def threw(error: WebError) -> None:
        errors.append(str(error.error))

    context.on("console", said)
    context.on("weberror", threw)


def _mark(loop: asyncio.AbstractEventLoop | None) -> None:
    # Playwright itself does so after each call; it has no way to take the mark away again.
    asyncio._set_running_loop(loop)
