"""Fixtures: one browser for each test process, and a page and a playground for each test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.asking import Json
from tests.browser.browsing import Chromium, Pages, chromium_running
from tests.browser.playground import Playground
from tests.browser.ui import PlaygroundUI
from tests.servers.driver import DRIVER
from tests.servers.fixtures import skip_or_fail
from tests.servers.fonts import FONTS, configuration
from tests.servers.programs import CHROMIUM, found


@pytest.fixture(scope="session")
def chromium() -> Path:
    if not DRIVER.there():
        skip_or_fail(" ".join(DRIVER.packages))
    return found(CHROMIUM) or skip_or_fail(str(CHROMIUM))


@pytest.fixture(scope="session")
def chinese_fonts() -> None:
    """Require a font with Chinese characters."""
    if not FONTS.there():
        skip_or_fail("font with Chinese characters")


@pytest.fixture(scope="session")
def lasting_browser(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Run the browser. Tests before, between and after those that use it may use asyncio."""
    with chromium_running(chromium, configuration(tmp_path_factory.mktemp("fonts"))) as browser:
        yield browser


@pytest.fixture
def browser(lasting_browser: Chromium) -> Iterator[Browser]:
    with lasting_browser.in_use() as browser:
        yield browser


@pytest.fixture
def pages(browser: Browser, tmp_path: Path) -> Iterator[Pages]:
    """Open pages. Fail the test if a page had console errors or failed requests."""
    pages = Pages(browser, tmp_path)
    try:
        yield pages
    finally:
        troubles = pages.close()
    assert not troubles, "\n".join(["the page had errors:", *troubles])


class Lender:
    """Lends one playground to several tests, because its start takes seconds.

    A test finds the session of a Mini Program with all controls at their defaults. Users of earlier tests may exist, so
    each test adds users of its own. After a test that changed the controls, or failed, a new playground is started.
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._running = ExitStack()
        self._lent: Playground | None = None
        self._start: Json = {}
        self.must_restart = False

    def lend(self) -> Playground:
        if self._lent is None or self.must_restart or self._state(self._lent) != self._start:
            self.close()
            self._lent = self._running.enter_context(Playground(self._factory.mktemp("lent") / "playground"))
            self._start = self._state(self._lent)
        return self._lent

    def close(self) -> None:
        self._lent, self.must_restart = None, False
        self._running.close()

    def _state(self, playground: Playground) -> Json:
        session = playground.server.session()
        controls = {name: value for name, value in session["controls"].items() if name != "ahead"}
        return {**controls, "kind": session["account"]["kind"], "bot": session["bot"]["state"], "play": session["play"]}


@pytest.fixture(scope="session")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lender]:
    lender = Lender(tmp_path_factory)
    try:
        yield lender
    finally:
        lender.close()


@pytest.fixture
def lent(chromium: Path, lender: Lender) -> Playground:
    """Return a playground that other tests have used before."""
    return lender.lend()


@pytest.fixture
def ui(pages: Pages, lent: Playground) -> PlaygroundUI:
    """Open the page of the lent playground: desktop size, English, light theme."""
    return open_ui(pages, lent)


def open_ui(pages: Pages, playground: Playground, **options: Any) -> PlaygroundUI:
    """Open a page of a playground with ``Pages.open`` and wait until it is connected."""
    ui = PlaygroundUI(pages.open(playground.address, **options))
    ui.is_live()
    return ui


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add screenshots of the pages and the output of the playground to the report of a failed test."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        pages, playground, lent = (item.funcargs.get(name) for name in ("pages", "playground", "lent"))
        if isinstance(pages, Pages):
            report.sections.append(("pictures of the pages", "\n".join(map(str, pages.take_pictures()))))
        if isinstance(lender := item.funcargs.get("lender"), Lender):
            lender.must_restart = True
        if isinstance(playground := playground or lent, Playground):
            report.sections.append(("the playground wrote", playground.story()))
    return report
