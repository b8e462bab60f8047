"""The screenshots in README and docs, taken while the page is used. ``make screenshots`` takes them again.

Otherwise the same is done, and the pictures are looked at and thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.asking import Server
from tests.browser.browsing import PHONE, Pages
from tests.browser.conftest import open_ui
from tests.browser.playground import ROOT, Playground
from tests.browser.scene.shop import FOUND
from tests.browser.small import shrunk
from tests.browser.ui import PlaygroundUI

IMAGES = ROOT / "docs" / "images"
WANTED = "WXBOT_SCREENSHOTS"
SHOP = Path(__file__).parent / "scene"
ENGLISH = "Where is my parcel?"
CHINESE = "我的快递到哪了？"
SMALLEST, LARGEST = 10_000, 250_000
"""Limits of the size of a screenshot in bytes: it must not be empty, and must load over slow connections."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the screenshots. Its variable is removed, because a bot refuses unknown WXBOT_ variables."""
    is_wanted = os.environ.get(WANTED) == "1"
    monkeypatch.delenv(WANTED, raising=False)
    return IMAGES if is_wanted else tmp_path


@pytest.fixture
def playground(folder: Path, tmp_path: Path) -> Iterator[Playground]:
    with Playground(tmp_path / "shop", (SHOP,)) as playground:
        yield playground


@pytest.mark.usefixtures("chinese_fonts")
def test_the_screenshots_are_taken(pages: Pages, playground: Playground, folder: Path) -> None:
    light = open_ui(pages, playground)
    _talk(light, playground.server)
    dark = open_ui(pages, playground, colours="dark")
    chinese = open_ui(pages, playground, locale="zh-CN")
    lanes = open_ui(pages, playground)
    narrow = open_ui(pages, playground, size=PHONE)
    dark.shows("Lily")
    chinese.shows("小明")
    narrow.shows("Amy")
    lanes.shows("Amy")
    lanes.opens_lanes()
    lanes.page.get_by_role("combobox", name="Range").select_option("15 s")
    light.shows("小明").says(CHINESE)
    light.shows("Lily").says(ENGLISH)
    light.shows("Amy").says(ENGLISH)

    light.timeline.opens_row("push", ENGLISH, "Amy")
    dark.timeline.by_user.select_option("Lily")
    dark.timeline.row("reply", "fault: ", "Lily").click()
    dark.details.is_of("reply", "within 30 days")
    chinese.timeline.opens_row("push", CHINESE, "小明")
    taken = {
        "light": _picture(light, "Amy"),
        "dark": _picture(dark, "Lily"),
        "zh": _picture(chinese, "小明"),
        "phone": _picture(narrow, "Amy"),
        "lanes": _picture(lanes, "Amy"),
    }
    playground.lets_answer(FOUND)
    light.phone("Amy").sees("It left Hangzhou this morning.")
    folder.mkdir(exist_ok=True)
    for name, seen in taken.items():
        picture = shrunk(seen, light.page)
        assert SMALLEST < len(picture) < LARGEST, name
        (folder / f"playground-{name}.png").write_bytes(picture)


def _talk(ui: PlaygroundUI, server: Server) -> None:
    """Let each user have a conversation first."""
    ming = ui.add_user("小明")
    ming.says("你好")
    ming.sees("您好！")
    ming.says("可以退货吗？")
    ming.sees("30 天内")
    ming.says("我的订单")
    ming.sees("您的订单")
    ben = ui.add_user("Ben")
    ben.says("Do you have the green one?")
    ben.sees_picture()
    lily = ui.add_user("Lily")
    lily.says("hello")
    lily.sees("Hello!")
    server.post("/faults", {"endpoint": "send", "kind": "fail"})
    lily.says("Can I return a mug?")
    lily.sees("within 30 days")
    amy = ui.add_user("Amy")
    amy.does("Enter session", fields={"session_from": "pages/tea"})
    amy.sees("Welcome to the tea shop.")
    amy.says("hello")
    amy.sees("Hello!")
    amy.says("My orders")
    amy.sees("Your orders")


def _picture(ui: PlaygroundUI, name: str) -> bytes:
    """Take a screenshot of the page while typing shows to this user."""
    phone = ui.phone(name)
    expect(phone.typing).to_be_visible()
    picture = ui.page.screenshot()
    assert phone.typing.is_visible(), "the picture was taken too late"
    return picture
