"""A browser for each process of tests, a page and a playground for each test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.asking import Json
from tests.browser.browsing import Chromium, Pages, chromium_running
from tests.browser.playground import PLUGINS, Playground
from tests.browser.ui import PlaygroundUI
from tests.servers.driver import DRIVER
from tests.servers.fixtures import skip_or_fail
from tests.servers.fonts import FONTS, configuration
from tests.servers.programs import CHROMIUM, found

StartPlayground = Callable[..., Playground]


@pytest.fixture(scope="session")
def chromium() -> Path:
    if not DRIVER.there():
        skip_or_fail(" ".join(DRIVER.packages))
    return found(CHROMIUM) or skip_or_fail(str(CHROMIUM))


@pytest.fixture(scope="session")
def chinese_fonts() -> None:
    """For a test that looks at Chinese characters as they are drawn."""
    if not FONTS.there():
        skip_or_fail("font with Chinese characters")


@pytest.fixture(scope="session")
def lasting_browser(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The one browser. Tests before, between and after those that use it may use asyncio."""
    with chromium_running(chromium, configuration(tmp_path_factory.mktemp("fonts"))) as browser:
        yield browser


@pytest.fixture
def browser(lasting_browser: Chromium) -> Iterator[Browser]:
    with lasting_browser.in_use() as browser:
        yield browser


@pytest.fixture
def pages(browser: Browser, tmp_path: Path) -> Iterator[Pages]:
    """Opens pages. A test whose page had errors on its console or requests that failed, fails."""
    pages = Pages(browser, tmp_path)
    try:
        yield pages
    finally:
        troubles = pages.close()
    assert not troubles, "\n".join(["the page had troubles:", *troubles])


@pytest.fixture
def page(pages: Pages) -> Page:
    """An empty one, of a desktop size, in English and light."""
    return pages.open()


@pytest.fixture
def start_playground(tmp_path: Path) -> Iterator[StartPlayground]:
    """Starts playgrounds that end with the test: ``start_playground(words=["--mode", "safe"])``."""
    with ExitStack() as running:

        def start(*, plugins: tuple[Path, ...] = (PLUGINS,), words: tuple[str, ...] = ()) -> Playground:
            folder = tmp_path / f"playground-{len(list(tmp_path.glob('playground-*'))) + 1}"
            return running.enter_context(Playground(folder, plugins, words))

        yield start


class Lender:
    """Lends one playground to test after test: its start takes seconds.

    Whoever borrows it finds the session of a Mini Program with all controls as they are at the beginning; users of earlier
    tests may be there, so that each test has users of its own. After a test that left it otherwise, or failed, a new
    one is started.
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._running = ExitStack()
        self._lent: Playground | None = None
        self._start: Json = {}
        self.is_spoilt = False

    def lend(self) -> Playground:
        if self._lent is None or self.is_spoilt or self._state(self._lent) != self._start:
            self.close()
            self._lent = self._running.enter_context(Playground(self._factory.mktemp("lent") / "playground"))
            self._start = self._state(self._lent)
        return self._lent

    def close(self) -> None:
        self._lent, self.is_spoilt = None, False
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
    """A playground that other tests have used before."""
    return lender.lend()


@pytest.fixture
def ui(pages: Pages, lent: Playground) -> PlaygroundUI:
    """The page of the lent playground, of a desktop size, in English and light."""
    return open_ui(pages, lent)


def open_ui(pages: Pages, playground: Playground, **wishes: Any) -> PlaygroundUI:
    """A page of a playground as ``Pages.open`` opens it, connected."""
    ui = PlaygroundUI(pages.open(playground.address, **wishes))
    ui.is_live()
    return ui


@pytest.fixture
def playground(start_playground: StartPlayground) -> Playground:
    return start_playground()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows its pages and what its playground wrote."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        pages, playground, lent = (item.funcargs.get(name) for name in ("pages", "playground", "lent"))
        if isinstance(pages, Pages):
            report.sections.append(("pictures of the pages", "\n".join(map(str, pages.take_pictures()))))
        if isinstance(lender := item.funcargs.get("lender"), Lender):
            lender.is_spoilt = True
        if isinstance(playground := playground or lent, Playground):
            report.sections.append(("the playground wrote", playground.story()))
    return report
