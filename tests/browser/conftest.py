"""A browser for each module of tests, a page and a playground for each test that asks for one.

While a module has its browser, Playwright's event loop counts as running in the thread of the tests, where asyncio.run
then fails. So the browser ends with its module, and modules of tests that use asyncio are not disturbed: whatever the
order, pytest ends what belongs to a module before the next module begins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsing import Pages, chromium_running
from tests.browser.playground import PLUGINS, Playground
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


@pytest.fixture(scope="module")
def browser(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium_running(chromium, configuration(tmp_path_factory.mktemp("fonts"))) as browser:
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
    """An empty one, of a desk's size, in English and light."""
    return pages.open()


@pytest.fixture
def start_playground(tmp_path: Path) -> Iterator[StartPlayground]:
    """Starts playgrounds that end with the test: ``start_playground(words=["--mode", "safe"])``."""
    with ExitStack() as running:

        def start(*, plugins: tuple[Path, ...] = (PLUGINS,), words: tuple[str, ...] = ()) -> Playground:
            folder = tmp_path / f"playground-{len(list(tmp_path.glob('playground-*'))) + 1}"
            return running.enter_context(Playground(folder, plugins, words))

        yield start


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
        pages, playground = (item.funcargs.get(name) for name in ("pages", "playground"))
        if isinstance(pages, Pages):
            report.sections.append(("pictures of the pages", "\n".join(map(str, pages.take_pictures()))))
        if isinstance(playground, Playground):
            report.sections.append(("the playground wrote", playground.story()))
    return report
