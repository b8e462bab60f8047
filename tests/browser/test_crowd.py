"""A hundred users and ten thousand rows: the page holds the lines in sight only, and goes on as with ten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Pages
from tests.browser.ui import PlaygroundUI
from wxbot.playground.page.playground import Playground
from wxbot.playground.page.server import PageServer
from wxbot.playground.session import AccountChoice, Credentials
from wxbot.testing import FakeWeChat, LeapingClock

USERS = 100
ROWS = 10_000
MOST_LINES = 100
MOST_ELEMENTS = 10_000


class Nobody:
    """A bot that gets no messages, because an agent handles all users."""

    target = "http://127.0.0.1:9/wechat"
    plugins = ""
    is_up = True

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        wechat.callback_url = self.target

    def restart(self, wechat: FakeWeChat) -> None: ...

    def troubles(self) -> int:
        return 0

    def stop(self, patience: float = 0.0) -> None: ...

    def log(self, after: int) -> tuple[str, int]:
        return "", 0


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Playground]:
    """Start a playground with a hundred users who have talked to an agent."""
    playground = Playground(Nobody(), AccountChoice(), Credentials(), tmp_path)
    try:
        playground.start()
        playground.view.wechat.hold()
        users = [playground.add_user(f"user {number:03}") for number in range(1, USERS + 1)]
        agent = playground.view.wechat.agent("kf1")
        for user in users:
            agent.takes(user)
        turn = 0
        while len(playground.view.rows.entries) < ROWS:
            user = users[turn % USERS]
            user.says(f"question {turn}")
            agent.says(user, f"answer {turn}")
            turn += 1
        yield playground
    finally:
        playground.close()


def test_ten_thousand_rows_stay_usable(crowd: Playground, pages: Pages) -> None:
    with PageServer(crowd, "127.0.0.1", 0) as server:
        ui = PlaygroundUI(pages.open(f"http://127.0.0.1:{server.port}/"))
        timeline, page = ui.timeline, ui.page
        timeline.says(ROWS, ROWS)
        expect(page.get_by_role("button", name="Open user 100 beside")).to_be_attached()
        rows = [entry.row["what"] for entry in crowd.view.rows.entries]
        expect(timeline.rows.last).to_contain_text(rows[-1])
        assert 0 < timeline.rows.count() < MOST_LINES
        assert page.locator("*").count() < MOST_ELEMENTS

        timeline.grid.press("Home")
        expect(timeline.row("agent", rows[0], "user 001")).to_be_visible()
        expect(timeline.rows.first).to_have_attribute("aria-rowindex", "2")
        assert timeline.rows.count() < MOST_LINES
        middle = ROWS // 2
        timeline.grid.evaluate("(grid, share) => (grid.scrollTop = grid.scrollHeight * share)", middle / ROWS)
        expect(timeline.rows.filter(has_text=rows[middle + 3]).first).to_be_visible()
        assert timeline.rows.count() < MOST_LINES
        timeline.grid.press("End")
        expect(timeline.rows.and_(page.locator(f"[aria-rowindex='{ROWS + 1}']"))).to_contain_text(rows[-1])

        phone = ui.shows("user 042")
        phone.says("is anybody there?")
        timeline.says(ROWS + 1, ROWS + 1)
        expect(timeline.row("action", "is anybody there?", "user 042")).to_be_visible()
        phone.sees("is anybody there?")

        timeline.search.fill("anybody")
        timeline.says(1, ROWS + 1)
        timeline.search.fill("")
        timeline.by_user.select_option("user 007")
        own = [entry.row for entry in crowd.view.rows.entries if entry.row["user"] == "user 007"]
        timeline.says(len(own), ROWS + 1)
        assert timeline.numbers() == [row["n"] for row in own]
        for number in range(50):
            crowd.view.wechat.users[6].says(f"more {number}")
        timeline.says(len(own) + 50, ROWS + 51)
        page.close()


def test_the_page_stays_usable_while_many_rows_arrive(crowd: Playground, pages: Pages) -> None:
    """The page reacts while many rows arrive, and has all of them in the end."""
    with PageServer(crowd, "127.0.0.1", 0) as server:
        ui = PlaygroundUI(pages.open(f"http://127.0.0.1:{server.port}/"))
        ui.timeline.says(ROWS, ROWS)
        users = crowd.view.wechat.users
        for number in range(1000):
            users[number % USERS].says(f"storm {number}")
            if number == 500:
                ui.speaks("中文")
                ui.shows("user 099")
        ui.timeline.says(ROWS + 1000, ROWS + 1000)
        expect(ui.timeline.rows.last).to_contain_text("storm 999")
        ui.phone("user 099").sees("storm 998", times=1)
        ui.page.close()
