"""The playground's page: users, phones, timeline, lanes, log and controls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Download, FilePayload, Locator, Page, expect

from tests.browser.phone import Phone
from tests.browser.words import either

Kind = Literal["action", "push", "typing", "reply", "passive", "notice", "agent", "token", "upload", "download"]
_KINDS: dict[Kind, str] = {
    "action": "用户动作",
    "push": "推送",
    "typing": "正在输入",
    "reply": "回复",
    "passive": "被动回复",
    "notice": "系统提示",
    "agent": "人工客服",
    "token": "access_token",
    "upload": "上传素材",
    "download": "下载素材",
}
PATIENT = 30_000.0
"""Milliseconds for actions that restart a bot."""


class PlaygroundUI:
    """The whole page. Elements are found by role and accessible name, in either language."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.timeline = Timeline(page)
        self.details = Details(page)
        self.controls = Controls(page)

    # -- the page

    def is_live(self) -> None:
        """Wait until the page is connected and the bot is running."""
        expect(self.status(either("Live", "实时"))).to_be_visible()
        expect(self.status(either("Bot: running", "机器人: 运行中"))).to_be_visible(timeout=PATIENT)

    def status(self, text: re.Pattern[str]) -> Locator:
        return self.page.get_by_role("banner").get_by_role("status").filter(has_text=text)

    def speaks(self, language: Literal["中文", "English"]) -> None:
        """Change the language of the page."""
        self.page.get_by_role("button", name=language, exact=True).click()
        expect(self.page.locator("html")).to_have_attribute("lang", {"中文": "zh-CN", "English": "en"}[language])

    def opens_help(self) -> Locator:
        keys = either("Keyboard shortcuts", "键盘快捷键")
        self.page.get_by_role("button", name=keys).click()
        return self.page.get_by_role("dialog", name=keys)

    def opens_tab(self, english: str, chinese: str) -> Locator:
        """Open a tab of the activity or of the controls. Return its panel."""
        name = either(english, chinese)
        tab = self.page.get_by_role("tab", name=name)
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        return self.page.get_by_role("tabpanel", name=name)

    def opens_lanes(self) -> Locator:
        return self.opens_tab("Lanes", "泳道")

    def opens_log(self) -> Locator:
        return self.opens_tab("Bot log", "机器人日志")

    # -- users and their phones

    def add_user(self, name: str) -> Phone:
        self.page.get_by_role("textbox", name=either("New user", "新用户")).fill(name)
        self.page.get_by_role("button", name=either("Add", "添加")).click()
        return self.phone(name)

    def add_users(self, first: str, *others: str) -> tuple[Phone, ...]:
        """Add several users, with their phones side by side."""
        phones = [self.add_user(name) for name in (first, *others)]
        for phone in phones[-2::-1]:
            self.opens_beside(phone.name)
        for phone in phones:
            expect(phone.card).to_be_visible()
        return tuple(phones)

    def phone(self, name: str) -> Phone:
        """Return the phone of a user, which is open."""
        phone = Phone(self.page, name)
        expect(phone.card).to_be_visible()
        return phone

    def person(self, name: str) -> Locator:
        """Return a user's entry in the list of users."""
        people = self.page.get_by_role("region", name=re.compile("^(?:Users|用户)")).get_by_role("list")
        return people.get_by_role("button", name=name, exact=True)

    def shows(self, name: str) -> Phone:
        self.person(name).click()
        return self.phone(name)

    def opens_beside(self, name: str) -> Phone:
        self.page.get_by_role("button", name=either("Open {name} beside", "并排打开 {name}", name=name)).click()
        return self.phone(name)

    # -- transcripts

    def saves(self, english: str, chinese: str) -> Download:
        """Click one of the save buttons and return the download."""
        with self.page.expect_download() as download:
            self._record().get_by_role("button", name=either(english, chinese)).click()
        return download.value

    def plays(self, name: str, transcript: str) -> Locator:
        """Replay a transcript of this name. Return the region that shows the result."""
        place = self._record()
        with self.page.expect_file_chooser() as chooser:
            place.get_by_role("button", name=either("Choose a transcript…", "选择录制文件…")).click()
        has_rows = self.page.locator("body").get_attribute("data-rows") not in (None, "0")
        chooser.value.set_files(FilePayload(name=name, mimeType="application/yaml", buffer=transcript.encode()))
        if has_rows:  # they are deleted with the session
            self.page.get_by_role("dialog").get_by_role("button", name=either("Replay", "回放"), exact=True).click()
        return place

    def _record(self) -> Locator:
        self.controls.opens()
        return self.opens_tab("Record & replay", "录制与回放")


class Timeline:
    """The timeline: one row for each push and call."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.grid = page.get_by_role("grid", name=either("Pushes and calls", "推送与调用"))

    @property
    def rows(self) -> Locator:
        """Return the rendered rows. The others are not in the DOM."""
        return self.grid.get_by_role("row").filter(has=self.page.get_by_role("gridcell"))

    def row(self, kind: Kind, text: str = "", user: str = "") -> Locator:
        """Return the rows of a kind, with a text and a user."""
        cell = self.page.get_by_role("gridcell", name=either(kind, _KINDS[kind]))
        rows = self.rows.filter(has=cell)
        if text:
            rows = rows.filter(has_text=text)
        return rows.filter(has=self.page.get_by_role("gridcell", name=user, exact=True)) if user else rows

    def shows(self, kind: Kind, text: str = "", user: str = "", times: int = 1) -> Locator:
        """Wait for the given number of such rows. Return the last one."""
        rows = self.row(kind, text, user)
        expect(rows).to_have_count(times)
        return rows.last

    def opens_row(self, kind: Kind, text: str, user: str = "") -> Details:
        """Click the last such row. Return its details."""
        self.row(kind, text, user).last.click()
        details = Details(self.page)
        details.is_of(kind, text)
        return details

    def says(self, shown: int, everything: int) -> None:
        """Check how many rows match the filters, of how many."""
        words = either("{shown} of {all}", "{shown} / {all} 条", shown=shown, all=everything)
        expect(self.page.get_by_text(words)).to_be_visible()

    def numbers(self) -> list[int]:
        """Return the numbers of all rows in order, by scrolling through the timeline.

        Also checks the positions: each row is where its aria-rowindex says, and the number of rows is as stated.
        """
        seen: dict[int, int] = {}
        self.grid.press("Home")
        while True:
            drawn = self.rows.evaluate_all("rows => rows.map(row => [row.ariaRowIndex, row.dataset.row].map(Number))")
            seen |= dict(drawn)
            last = int(self.grid.get_attribute("aria-rowcount") or 0)
            if len(seen) >= last - 1:
                break
            self.grid.press("PageDown")
        assert sorted(seen) == list(range(2, last + 1))
        return [seen[place] for place in sorted(seen)]

    @property
    def search(self) -> Locator:
        return self.page.get_by_role("searchbox", name=either("Search", "搜索"))

    @property
    def by_user(self) -> Locator:
        return self.page.get_by_role("combobox", name=either("User", "用户"))

    def toggle(self, english: str, chinese: str) -> Locator:
        """Return a button of the filters, such as "Problems only"."""
        filters = self.page.get_by_role("group", name=either("Filter", "筛选"))
        return filters.get_by_role("button", name=either(english, chinese))


class Details:
    """The details of one row."""

    def __init__(self, page: Page) -> None:
        self.region = page.get_by_role("region", name=re.compile(r"^#\d+ "))
        self.heading = self.region.get_by_role("heading", name=re.compile(r"^#\d+ "))

    def is_of(self, kind: Kind, text: str) -> None:
        expect(self.heading).to_have_text(re.compile(rf"^#\d+ (?:{kind}|{_KINDS[kind]}) · .*{re.escape(text)}"))
        expect(self.region.get_by_text(either("Loading…", "加载中…"))).to_be_hidden()

    def part(self, english: str, chinese: str = "") -> Locator:
        """Return one message of the exchange."""
        return self.region.get_by_role("group", name=either(english, chinese or english))

    def closes(self) -> None:
        self.region.get_by_role("button", name=either("Close", "关闭")).click()
        expect(self.region).to_be_hidden()


class Controls:
    """The controls of the platform."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.region = page.get_by_role("region", name=either("Controls", "控制面板"))
        self.toggle = page.get_by_role("banner").get_by_role("button", name=either("Controls", "控制面板"))

    def opens(self) -> None:
        """Open the controls. In a narrow window they cover the timeline."""
        if not self.region.is_visible():
            self.toggle.click()
        expect(self.region).to_be_visible()

    def closes(self) -> None:
        if self.region.is_visible():
            self.region.get_by_role("button", name=either("Close", "关闭")).click()
        expect(self.region).to_be_hidden()

    def group(self, english: str, chinese: str = "") -> Locator:
        """Return a control with its explanation."""
        self.opens()
        return self.region.get_by_role("group", name=either(english, chinese or english))

    def chooses(self, control: str, value: str) -> None:
        """Choose a value, such as "Plaintext" for "Encryption mode". Return when it is set and the bot is restarted."""
        choice = self.group(control).get_by_role("radio", name=value, exact=True)
        with self.page.expect_response("**/controls", timeout=PATIENT) as answer:
            choice.check()
        assert answer.value.ok
        expect(choice).to_be_checked()

    def checks(self, label: str, wanted: bool = True) -> None:
        self.opens()
        box = self.region.get_by_role("checkbox", name=label, exact=True)
        with self.page.expect_response("**/controls") as answer:
            box.set_checked(wanted)
        assert answer.value.ok
        expect(box).to_be_checked(checked=wanted)

    def presses(self, label: str) -> None:
        self.button(label).click()

    def button(self, label: str) -> Locator:
        self.opens()
        return self.region.get_by_role("button", name=label, exact=True)

    def injects_fault(self, call: str, fault: str, **numbers: int) -> None:
        """Inject a fault into the next such call. ``numbers``: by the labels of their fields."""
        form = self.group("Inject a fault").get_by_role("form")
        form.get_by_role("combobox", name="Call").select_option(call)
        form.get_by_role("combobox", name="Fault").select_option(fault)
        for label, number in numbers.items():
            form.get_by_role("spinbutton", name=label).fill(str(number))
        form.get_by_role("button", name="Inject fault").click()
        expect(self.faults.filter(has_text=call)).to_have_count(1)

    @property
    def faults(self) -> Locator:
        return self.group("Active faults").get_by_role("listitem")

    def advances_clock(self, label: str) -> None:
        """Advance the clock to a moment that is relevant for the selected user."""
        with self._advancing():
            self.presses(label)

    def forwards(self, seconds: float) -> None:
        """Advance the clock by some seconds."""
        control = self.group("Advance the clock")
        control.get_by_role("spinbutton").fill(str(seconds))
        with self._advancing():
            control.get_by_role("button", name="Advance").click()

    @contextmanager
    def _advancing(self) -> Iterator[None]:
        with self.page.expect_response("**/clock") as answer:
            yield
        assert answer.value.ok

    def agent(self, does: Literal["Take session", "Send", "Close session"], text: str = "") -> None:
        """Let a human agent take, answer or close the session of the selected user."""
        control = self.group("Human agent")
        if text:
            control.get_by_role("textbox", name="Message of the agent").fill(text)
        control.get_by_role("button", name=does, exact=True).click()

    def restarts_bot(self) -> None:
        """Restart the bot. Return when it is running again."""
        with self.page.expect_response("**/bot/restart", timeout=PATIENT) as answer:
            self.group("Restart").get_by_role("button").click()
        assert answer.value.ok

    def changes_account(self, kind: str) -> None:
        """Start a new session with another account type. Return when its bot is running."""
        self.group("Account type").get_by_role("radio", name=kind, exact=True).check()
        question = self.page.get_by_role("dialog", name="Start a new session?")
        with self.page.expect_response("**/account", timeout=PATIENT) as answer:
            question.get_by_role("button", name="Start new session").click()
        assert answer.value.ok
