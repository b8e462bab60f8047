"""Accessibility: axe-core finds no problem in any view, and every function works without a mouse."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.accessibility import violations
from tests.browser.browsing import PHONE, Colours, Locale, Pages
from tests.browser.conftest import open_ui
from tests.browser.phone import Phone
from tests.browser.playground import Playground
from tests.browser.ui import PlaygroundUI
from tests.browser.words import either

MOST_TABS = 80
# Themes affect contrast and languages affect names: each view is tested with each of them, but not in all pairs.
in_both = pytest.mark.parametrize(("colours", "locale"), [("light", "en-US"), ("dark", "zh-CN")])


@in_both
def test_axe_finds_no_problem_in_any_view(pages: Pages, lent: Playground, colours: Colours, locale: Locale) -> None:
    ui = open_ui(pages, lent, colours=colours, locale=locale)
    _has_something_to_show(ui.add_user(f"axe-{colours}"))
    found = {view: violations(ui.page) for view in views(ui)}
    assert len(found) == 8
    assert not {view: lines for view, lines in found.items() if lines}


def _has_something_to_show(phone: Phone) -> None:
    """Show several kinds of bubbles."""
    for text, seen in (("card", "pages/orders"), ("link", "What is on it"), ("crash", "抱歉"), ("words", "not bold")):
        phone.says(text)
        phone.sees(seen)
    phone.says("picture")
    phone.sees_picture()


def views(ui: PlaygroundUI) -> Iterator[str]:
    """Open the views one after the other and yield their names."""
    yield "timeline"
    details = ui.timeline.opens_row("push", "picture")
    yield "details"
    details.closes()
    ui.opens_lanes().get_by_role("img").wait_for()
    yield "lanes"
    expect(ui.opens_log().get_by_role("log")).to_contain_text("Traceback")
    yield "log"
    ui.opens_tab("Record & replay", "录制与回放")
    yield "record and replay"
    ui.opens_tab("Platform", "平台")
    [phone] = ui.page.get_by_role("article").all()
    phone.get_by_role("button", name=either("More user actions", "更多用户动作")).click()
    yield "actions"
    phone.get_by_role("button", name=either("Any event", "任意事件")).click()
    expect(phone.get_by_role("form", name=either("Any event", "任意事件"))).to_be_visible()
    yield "a form"
    ui.opens_help()
    yield "help"


@in_both
def test_axe_finds_no_problem_at_the_width_of_a_phone(
    pages: Pages, lent: Playground, colours: Colours, locale: Locale
) -> None:
    ui = open_ui(pages, lent, colours=colours, locale=locale, size=PHONE)
    zoe = ui.add_user(f"narrow-{colours}")
    zoe.says("link")
    zoe.sees("What is on it")
    found = {"phone": violations(ui.page)}
    assert fits(ui.page)
    goes_to(ui.page, "Timeline", "时间线")
    ui.timeline.opens_row("reply", "A page", zoe.name)
    found["timeline"] = violations(ui.page)
    assert fits(ui.page)
    goes_to(ui.page, "Controls", "控制面板")
    expect(ui.controls.region).to_be_visible()
    found["controls"] = violations(ui.page)
    assert fits(ui.page)
    assert not {view: lines for view, lines in found.items() if lines}


def goes_to(page: Page, english: str, chinese: str) -> None:
    """Go to a part of the page, which a narrow page shows one at a time."""
    parts = page.get_by_role("navigation", name=either("Sections of the page", "页面分区"))
    parts.get_by_role("button", name=either(english, chinese)).click()


def fits(page: Page) -> bool:
    """Return True if the page needs no horizontal scrolling."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))


# -- without a mouse


def tabs_to(page: Page, goal: Locator, key: str = "Tab") -> None:
    """Press a key until the element has the focus, visibly."""
    for _ in range(MOST_TABS):
        if goal.evaluate("goal => goal === document.activeElement"):
            assert goal.evaluate("goal => goal.matches(':focus-visible')")
            return
        page.keyboard.press(key)
    raise AssertionError(f"{MOST_TABS} times {key} do not lead to {goal}")


def test_the_page_can_be_used_with_tab_and_enter(ui: PlaygroundUI) -> None:
    page, keyboard = ui.page, ui.page.keyboard
    tabs_to(page, page.get_by_role("textbox", name="New user"))
    keyboard.type("tab-amy")
    keyboard.press("Enter")
    amy = ui.phone("tab-amy")
    expect(amy.field).to_be_focused()
    keyboard.type("no mouse here")
    keyboard.press("Shift+Enter")
    keyboard.type("at all")
    keyboard.press("Enter")
    amy.sees("You said: no mouse here\nat all")

    tabs_to(page, ui.timeline.grid)
    keyboard.press("End")
    expect(ui.timeline.rows.and_(page.locator("[aria-selected=true]"))).to_contain_text("You said: no mouse here")
    keyboard.press("ArrowUp")
    selected = ui.timeline.rows.and_(page.locator("[aria-selected=true]"))
    expect(selected).to_contain_text("CancelTyping")
    keyboard.press("Enter")
    ui.details.is_of("typing", "CancelTyping")
    expect(ui.details.heading).to_be_focused()
    keyboard.press("Escape")
    expect(ui.details.region).to_be_hidden()
    expect(ui.timeline.grid).to_be_focused()

    ui.controls.region.wait_for()
    choice = ui.controls.region.get_by_role("radiogroup", name="Format")
    tabs_to(page, choice.get_by_role("radio", name="JSON"))
    keyboard.press("ArrowRight")
    expect(choice.get_by_role("radio", name="XML")).to_be_checked()
    amy.field.focus()
    keyboard.type("in XML")
    keyboard.press("Enter")
    expect(ui.timeline.shows("push", "in XML", "tab-amy")).to_contain_text("XML")
    choice.get_by_role("radio", name="XML").focus()
    keyboard.press("ArrowLeft")
    expect(choice.get_by_role("radio", name="JSON")).to_be_checked()


def test_the_page_can_be_used_with_single_keys(ui: PlaygroundUI) -> None:
    page, keyboard = ui.page, ui.page.keyboard
    for name in ("key-ben", "key-carl"):
        keyboard.press("n")
        keyboard.type(name)
        keyboard.press("Enter")
        expect(ui.phone(name).field).to_be_focused()
        keyboard.press("Escape")
    keyboard.press("k")
    ben = ui.phone("key-ben")
    keyboard.press("m")
    expect(ben.field).to_be_focused()
    keyboard.type("/jklm?")
    keyboard.press("Enter")
    ben.sees("You said: /jklm?")
    keyboard.press("Escape")

    keyboard.press("t")
    expect(ui.timeline.grid).to_be_focused()
    keyboard.press("/")
    expect(ui.timeline.search).to_be_focused()
    keyboard.type("key-ben")
    expect(ui.timeline.row("reply", "You said: /jklm?")).to_be_visible()
    keyboard.press("Escape")
    keyboard.press("Escape")
    keyboard.press("l")
    tab = page.get_by_role("tab", name="Lanes")
    expect(tab).to_be_focused()
    keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Bot log")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Bot log")).to_be_visible()
    keyboard.press("b")
    expect(ui.controls.region.get_by_role("heading", name="Controls")).to_be_focused()
    keyboard.press("?")
    help_dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(help_dialog).to_be_visible()
    help_dialog.get_by_role("checkbox").focus()
    keyboard.press("Space")
    keyboard.press("Escape")
    expect(help_dialog).to_be_hidden()
    keyboard.press("t")
    expect(page.get_by_role("tabpanel", name="Bot log")).to_be_visible()


def test_the_page_is_structured_for_screen_readers(ui: PlaygroundUI) -> None:
    """Check landmarks, headings, a chat that is read as it grows, and gauges that are read only on request."""
    page = ui.page
    dora = ui.add_user("read-dora")
    for role, names in {
        "region": ("Users", "Phones", "Activity", "Controls"),
        "heading": ("wxbot", "read-dora", "Activity", "Controls"),
    }.items():
        for name in names:
            expect(page.get_by_role(role, name=re.compile(f"^{name}")).first).to_be_attached()  # type: ignore[arg-type]
    for landmark in ("banner", "main"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    expect(dora.chat).to_have_attribute("aria-live", "polite")
    dora.says("hello")
    expect(dora.chat).to_contain_text("Bot: You said: hello")
    expect(ui.timeline.grid).to_have_attribute("aria-rowcount", re.compile(r"^\d+$"))
    for gauge in ("Window", "Typing", "Replies"):
        expect(dora.gauge(gauge)).to_have_attribute("aria-valuetext", re.compile("."))
