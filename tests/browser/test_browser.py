"""The browser of the other tests: it starts, renders, draws Chinese, and reports errors."""

from __future__ import annotations

import asyncio
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import violations
from tests.browser.browsing import PHONE, Chromium, Pages

HTML = """<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>微信模拟器</title>
<link rel="icon" href="data:,"></head>
<body><main><h1>你好</h1><p><span>永</span><span>和</span></p>{}</main></body></html>"""


def shown(body: str = "") -> str:
    """Return the URL of a page with ``body`` in it."""
    return "data:text/html;charset=utf-8," + HTML.format(body).replace("#", "%23")


def test_a_page_is_loaded(pages: Pages) -> None:
    page = pages.open(shown("<button onclick='this.textContent = navigator.language'>Say</button>"), locale="zh-CN")
    page.get_by_role("button", name="Say").click()
    expect(page.get_by_role("button")).to_have_text("zh-CN")
    expect(page).to_have_title("微信模拟器")


@pytest.mark.usefixtures("chinese_fonts")
def test_chinese_characters_are_drawn(pages: Pages) -> None:
    """Check Chinese characters: a font without them draws the same box for both."""
    page = pages.open(shown("<p><span>&#xE000;</span></p>"))
    one, other, lacking = (span.screenshot() for span in page.locator("span").all())
    assert len({one, other, lacking}) == 3


def test_preferences_of_the_visitor_are_applied(pages: Pages) -> None:
    page = pages.open(shown(), colours="dark", size=PHONE)
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark) and (prefers-reduced-motion: reduce)').matches")
    assert page.evaluate("innerWidth") == PHONE["width"]


def test_axe_reports_problems_with_their_elements(pages: Pages) -> None:
    assert violations(pages.open(shown())) == []
    [line] = violations(pages.open(shown("<img id=logo src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>")))
    assert line.startswith("image-alt (critical) at #logo: ")


@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        ("console.error('oh')", "console error: oh"),
        ("null.length", "exception: TypeError"),
        ("fetch('http://127.0.0.1:1/')", "request failed: GET http://127.0.0.1:1/: net::ERR_"),
    ],
)
def test_errors_of_a_page_are_reported(pages: Pages, script: str, trouble: str) -> None:
    page = pages.open(shown(f'<button onclick="{script}">Try</button>'))
    with page.expect_event({"c": "console", "e": "pageerror", "r": "requestfailed"}[trouble[0]]):
        page.get_by_role("button").click()
    troubles = pages.troubles(page)
    assert any(seen.startswith(trouble) for seen in troubles.end())
    troubles.expect("oh|TypeError|127.0.0.1:1/|CORS")
    assert troubles.end() == []


def test_a_4xx_response_is_an_error(pages: Pages) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # it has no page: 501
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        page = pages.open(f"http://127.0.0.1:{server.server_address[1]}/")
        assert "status of 501" in pages.troubles(page).end()[0]
        pages.troubles(page).expect("status of 501")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_pages_are_isolated(pages: Pages) -> None:
    one, other = pages.open(shown()), pages.open(shown())
    one.context.add_cookies([{"name": "key", "value": "1", "url": "http://127.0.0.1/"}])
    assert other.context.cookies() == []
    assert [path.name for path in pages.take_pictures()] == ["page-1.png", "page-2.png"]


def test_asyncio_works_beside_the_browser(lasting_browser: Chromium) -> None:
    """Use asyncio: the event loop of the browser occupies the thread only while the browser is in use."""
    asyncio.run(asyncio.sleep(0))
    with lasting_browser.in_use() as browser:
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="running event loop"):
            asyncio.run(coroutine)
        coroutine.close()
        with browser.new_page() as page:
            assert page.url == "about:blank"
    asyncio.run(asyncio.sleep(0))
