"""The page in English and in Chinese: by the browser's wish, by the switch, and nothing left in the other language."""

from __future__ import annotations

import re
from string import Formatter

import pytest
from playwright.sync_api import Page, expect

from tests.browser.browsing import Pages
from tests.browser.conftest import open_ui
from tests.browser.playground import STATIC, Playground
from tests.browser.ui import PlaygroundUI
from tests.browser.words import dictionary

ALIKE = {"fact.errcode", "fault.errcode", "format.json", "format.xml"}
"""Words that are the same in both languages."""
NAMES = {
    *(
        "wxbot",
        "English",
        "WeChat",
        "Mini",
        "Program",
        "JSON",
        "XML",
        "YAML",
        "HTTP",
        "pytest",
        "key",
        "token",
        "Typing",
    ),
    *("errcode", "access_token", "session_from", "AppID", "AI", "MB", "ms", "kf1", "api", "plugins", "wechat", "http"),
    *("Alt", "Esc", "Home", "End", "PgUp", "PgDn", "Enter", "Shift"),
}
"""What is no English on the page in Chinese."""

# Collects the visible and the accessible texts, except those of users and bots.
_TEXTS = """() => {
  const theirs = "[role=log], [role=gridcell], [role=img] text:not(.lane-label), pre, dd, td, tr th, h3[tabindex]"
    + ", [lang=en], .selected-line, .clock-line";
  const texts = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (element.checkVisibility() && !element.closest(theirs)) texts.add(walker.currentNode.data.trim());
  }
  for (const element of document.querySelectorAll("[aria-label], [title], [placeholder]")) {
    if (!element.checkVisibility() || element.closest("dd")) continue;
    for (const name of ["aria-label", "title", "placeholder"]) texts.add(element.getAttribute(name) ?? "");
  }
  return [...texts];
}"""


def english_on(page: Page, *known: str) -> list[str]:
    """Return texts of the page with a Latin word that is not a name. ``known``: texts of users."""
    texts = page.evaluate(_TEXTS)
    without = "|".join(map(re.escape, known))
    return [text for text in texts if set(re.findall(r"[A-Za-z]\w+", re.sub(without, " ", text), re.ASCII)) - NAMES]


def test_every_text_exists_in_both_languages() -> None:
    words = dictionary()
    assert len(words) > 200
    assert {key for key, (english, chinese) in words.items() if english == chinese} == ALIKE
    for key, (english, chinese) in words.items():
        assert english.strip(), key
        assert chinese.strip(), key
        assert not re.search(r"[\u4e00-\u9fff]", english), f"{key}: {english}"
        assert _values(english) == _values(chinese), key


def _values(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(re.sub(r'\{"[^}]*\}', "", text)) if name is not None}


def test_every_key_in_the_sources_has_a_text() -> None:
    """Check the keys that are literals in the sources; others are built from a prefix and a value."""
    words = set(dictionary())
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'data-say(?:-\w+)?="([^"]+)"', page))
    for script in set(STATIC.glob("*.js")) - {STATIC / "dom.js"}:
        asked |= set(re.findall(r'\bsay\w*(?:\(|: )"([\w.]+)"', script.read_text(encoding="utf-8")))
    assert len(asked) > 100
    assert asked - words == set()


def test_the_page_uses_the_language_of_the_browser(pages: Pages, lent: Playground) -> None:
    ui = open_ui(pages, lent, locale="zh-CN")
    expect(ui.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(ui.page).to_have_title("wxbot · 小程序")
    ming = ui.add_user("小明")
    ming.hears_echo("你好")
    expect(ui.timeline.shows("push", "你好", "小明")).to_contain_text("加密")
    expect(ming.gauge("Replies", "可回复")).to_have_attribute("aria-valuetext", "还可回复 4 条")


def test_the_chosen_language_is_remembered(ui: PlaygroundUI) -> None:
    page = ui.page
    lucy = ui.add_user("lucy")
    lucy.says("hello")
    expect(page.get_by_role("heading", name="Activity")).to_be_visible()
    ui.speaks("中文")
    expect(page.get_by_role("heading", name="运行记录")).to_be_visible()
    expect(ui.phone("lucy").chat).to_have_accessible_name("lucy 的聊天")
    expect(lucy.card.get_by_text("客服消息")).to_be_visible()
    lucy.sees("You said: hello")
    page.reload()
    ui.is_live()
    expect(page.get_by_role("heading", name="运行记录")).to_be_visible()
    ui.speaks("English")
    expect(page.get_by_role("heading", name="Activity")).to_be_visible()
    expect(page.get_by_role("button", name="中文")).to_have_attribute("lang", "zh-CN")


def test_the_chinese_page_contains_no_english(pages: Pages, lent: Playground) -> None:
    ui = open_ui(pages, lent, locale="zh-CN")
    anna = ui.add_user("anna")
    users = [user["name"] for user in lent.server.session()["users"]]
    anna.says("slow 0.1")
    anna.sees("That took")
    anna.opens_panel()
    ui.controls.opens()
    assert english_on(ui.page, *users) == []
    anna.closes_panel()
    ui.timeline.opens_row("reply", "That took")
    assert english_on(ui.page, *users, "That took 0.1 s.") == []
    ui.details.closes()
    ui.opens_lanes()
    assert english_on(ui.page, *users) == []
    ui.opens_log()
    ui.opens_tab("Record & replay", "录制与回放")
    assert english_on(ui.page, *users) == []
    ui.opens_help()
    assert english_on(ui.page, *users) == []


@pytest.mark.parametrize(("address", "language"), [("?lang=zh", "zh-CN"), ("?lang=en", "en")])
def test_the_language_can_be_chosen_in_the_url(pages: Pages, lent: Playground, address: str, language: str) -> None:
    page = pages.open(lent.address + address, locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", language)
