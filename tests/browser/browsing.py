"""Pages in a real Chromium, with a record of their errors."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.servers import driver

Colours = Literal["light", "dark"]
Locale = Literal["en-US", "zh-CN"]
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE = 20.0
"""Seconds that a page has to show something. The machine may be busy with other tests."""
expect.set_options(timeout=PATIENCE * 1000)
# A page that was left or reloaded aborts its pending requests, such as the event stream.
_DROPPED = "net::ERR_ABORTED"


@contextmanager
def chromium_running(executable: Path, fonts: Path) -> Iterator[Chromium]:
    """Run Chromium with the fonts of a configuration. It may be used only within ``in_use``."""
    environment: dict[str, str | float | bool] = {**os.environ, "FONTCONFIG_FILE": str(fonts)}
    with _driver_running() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, env=environment)
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        try:
            yield Chromium(browser, loop)
        finally:
            asyncio._set_running_loop(loop)
            browser.close()


class Chromium:
    """A browser for many tests, used only now and then.

    While a thread uses Playwright, its event loop counts as running there, and asyncio.run fails. So the loop counts
    as running only within ``in_use``, and the browser does not disturb tests that use asyncio.
    """

    def __init__(self, browser: Browser, loop: asyncio.AbstractEventLoop) -> None:
        self._browser = browser
        self._loop = loop

    @contextmanager
    def in_use(self) -> Iterator[Browser]:
        """Yield the browser. Within this, asyncio.run fails in this thread."""
        asyncio._set_running_loop(self._loop)
        try:
            yield self._browser
        finally:
            asyncio._set_running_loop(None)


@contextmanager
def _driver_running() -> Iterator[Playwright]:
    """Run the driver, which inherits this environment. Nothing else in the environment is changed."""
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in driver.environment().items():
                patch.setenv(name, value)
            playwright = running.enter_context(sync_playwright())
        yield playwright


class Troubles:
    """The errors of one page: console errors, exceptions and failed requests."""

    def __init__(self, page: Page) -> None:
        self._seen: list[str] = []
        self._expected: list[str] = []
        self._over = False
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"exception: {error.stack or error.message}"))
        page.on("requestfailed", self._failed)
        page.on("crash", lambda _: self._note("the page crashed"))

    def expect(self, pattern: str) -> None:
        """Ignore errors that match ``pattern``, past and future. A 4xx response is a console error too."""
        self._expected.append(pattern)

    def end(self) -> list[str]:
        """Return the unexpected errors. Errors while the page is being closed are ignored."""
        self._over = True
        return [seen for seen in self._seen if not any(re.search(pattern, seen) for pattern in self._expected)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console {message.type}: {message.text} ({message.location['url']})")

    def _failed(self, request: Request) -> None:
        if request.failure != _DROPPED:
            self._note(f"request failed: {request.method} {request.url}: {request.failure}")

    def _note(self, trouble: str) -> None:
        if not self._over:
            self._seen.append(trouble)


class Pages:
    """Opens pages, each in a browser context of its own. Screenshots are stored in ``folder``."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder
        self._open: dict[Page, Troubles] = {}
        self._closing = ExitStack()

    def open(
        self,
        address: str = "about:blank",
        *,
        locale: Locale = "en-US",
        colours: Colours = "light",
        size: ViewportSize = DESKTOP,
        still: bool = True,
    ) -> Page:
        """Open a page at ``address``. ``still``: with reduced motion."""
        context = self._browser.new_context(
            locale=locale,
            color_scheme=colours,
            viewport=size,
            reduced_motion="reduce" if still else "no-preference",
            timezone_id="Asia/Shanghai",
        )
        self._closing.callback(context.close)
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        self._open[page] = Troubles(page)
        page.goto(address)
        return page

    def troubles(self, page: Page) -> Troubles:
        return self._open[page]

    def take_pictures(self) -> list[Path]:
        """Take a screenshot of every page, to explain a failed test."""
        taken = []
        for number, page in enumerate(self._open, start=1):
            taken.append(self._folder / f"page-{number}.png")
            page.screenshot(path=taken[-1])
        return taken

    def close(self) -> list[str]:
        """Close all pages and return their errors."""
        troubles = [trouble for page in self._open.values() for trouble in page.end()]
        self._closing.close()
        return troubles
