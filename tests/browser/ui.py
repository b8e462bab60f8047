"""The playground's page as somebody uses it: users, phones, what really happened, and the controls."""

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
    "action": "操作",
    "push": "推送",
    "typing": "输入状态",
    "reply": "回复",
    "passive": "被动回复",
    "notice": "系统提示",
    "agent": "人工客服",
    "token": "令牌",
    "upload": "上传",
    "download": "下载",
}
PATIENT = 30_000.0
"""Milliseconds for what takes a bot's start."""


class PlaygroundUI:
    """The whole page. Everything is found by its role and its name, in whichever of the two languages."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.timeline = Timeline(page)
        self.details = Details(page)
        self.controls = Controls(page)

    # -- the page

    def is_live(self) -> None:
        """The page has its line to the server, and the bot is up."""
        expect(self.status(either("Live", "实时"))).to_be_visible()
        expect(self.status(either("Bot: up", "机器人: 运行中"))).to_be_visible(timeout=PATIENT)

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
        """A tab of "what really happened", or of the controls; its panel."""
        name = either(english, chinese)
        tab = self.page.get_by_role("tab", name=name)
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        return self.page.get_by_role("tabpanel", name=name)

    def opens_timeline(self) -> Locator:
        return self.opens_tab("Timeline", "时间线")

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
        """Several, their phones beside each other."""
        phones = [self.add_user(name) for name in (first, *others)]
        for phone in phones[-2::-1]:
            self.opens_beside(phone.name)
        for phone in phones:
            expect(phone.card).to_be_visible()
        return tuple(phones)

    def phone(self, name: str) -> Phone:
        """Theirs, which is open."""
        phone = Phone(self.page, name)
        expect(phone.card).to_be_visible()
        return phone

    def person(self, name: str) -> Locator:
        """Their entry in the list of users."""
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
        """What one of the buttons that save gives."""
        with self.page.expect_download() as download:
            self._record().get_by_role("button", name=either(english, chinese)).click()
        return download.value

    def plays(self, name: str, transcript: str) -> Locator:
        """Choose a transcript of this name; where its verdict appears."""
        place = self._record()
        with self.page.expect_file_chooser() as chooser:
            place.get_by_role("button", name=either("Choose a transcript…", "选择记录文件…")).click()
        has_rows = self.page.locator("body").get_attribute("data-rows") not in (None, "0")
        chooser.value.set_files(FilePayload(name=name, mimeType="application/yaml", buffer=transcript.encode()))
        if has_rows:  # they go with the session
            self.page.get_by_role("dialog").get_by_role("button", name=either("Play", "回放"), exact=True).click()
        return place

    def _record(self) -> Locator:
        self.controls.opens()
        return self.opens_tab("Record & replay", "录制与回放")


class Timeline:
    """Every push and every call, a row each."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.grid = page.get_by_role("grid", name=either("Pushes and calls", "推送与调用"))

    @property
    def rows(self) -> Locator:
        """Those that are drawn: the others are no elements."""
        return self.grid.get_by_role("row").filter(has=self.page.get_by_role("gridcell"))

    def row(self, kind: Kind, text: str = "", user: str = "") -> Locator:
        """Rows of a kind that say something, and are of somebody."""
        cell = self.page.get_by_role("gridcell", name=either(kind, _KINDS[kind]))
        rows = self.rows.filter(has=cell)
        if text:
            rows = rows.filter(has_text=text)
        return rows.filter(has=self.page.get_by_role("gridcell", name=user, exact=True)) if user else rows

    def shows(self, kind: Kind, text: str = "", user: str = "", times: int = 1) -> Locator:
        """Sooner or later there are so many; the last of them."""
        rows = self.row(kind, text, user)
        expect(rows).to_have_count(times)
        return rows.last

    def opens_row(self, kind: Kind, text: str, user: str = "") -> Details:
        """Click on the last such row."""
        self.row(kind, text, user).last.click()
        details = Details(self.page)
        details.is_of(kind, text)
        return details

    def says(self, shown: int, everything: int) -> None:
        """How many rows match the filters, of how many."""
        words = either("{shown} of {all}", "{shown} / {all} 条", shown=shown, all=everything)
        expect(self.page.get_by_text(words)).to_be_visible()

    def numbers(self) -> list[int]:
        """The numbers of all rows from the first to the last, as somebody sees them who scrolls through.

        Their places are checked too: each row stands where its aria-rowindex says, and there are as many as told.
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
        """A button of the filters, such as "Only problems"."""
        filters = self.page.get_by_role("group", name=either("Filter", "筛选"))
        return filters.get_by_role("button", name=either(english, chinese))


class Details:
    """One row in full."""

    def __init__(self, page: Page) -> None:
        self.region = page.get_by_role("region", name=re.compile(r"^#\d+ "))
        self.heading = self.region.get_by_role("heading", name=re.compile(r"^#\d+ "))

    def is_of(self, kind: Kind, text: str) -> None:
        expect(self.heading).to_have_text(re.compile(rf"^#\d+ (?:{kind}|{_KINDS[kind]}) · .*{re.escape(text)}"))
        expect(self.region.get_by_text(either("Loading…", "加载中…"))).to_be_hidden()

    def part(self, english: str, chinese: str = "") -> Locator:
        """A piece of what went over the wire."""
        return self.region.get_by_role("group", name=either(english, chinese or english))

    def closes(self) -> None:
        self.region.get_by_role("button", name=either("Close", "关闭")).click()
        expect(self.region).to_be_hidden()


class Controls:
    """Everything about the platform that one may turn."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.region = page.get_by_role("region", name=either("Controls", "调控"))
        self.toggle = page.get_by_role("banner").get_by_role("button", name=either("Controls", "调控"))

    def opens(self) -> None:
        """Where there is no room beside the phones, they stand over what is below."""
        if not self.region.is_visible():
            self.toggle.click()
        expect(self.region).to_be_visible()

    def closes(self) -> None:
        if self.region.is_visible():
            self.region.get_by_role("button", name=either("Close", "关闭")).click()
        expect(self.region).to_be_hidden()

    def group(self, english: str, chinese: str = "") -> Locator:
        """One control with what it says of itself."""
        self.opens()
        return self.region.get_by_role("group", name=either(english, chinese or english))

    def chooses(self, control: str, value: str) -> None:
        """One of several, such as "Mode" and "Plaintext"; returns when it is so, which may take a bot's start."""
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

    def orders_fault(self, call: str, fault: str, **numbers: int) -> None:
        """Let the next such call go wrong; ``numbers`` by the labels of their fields."""
        form = self.group("Order a fault").get_by_role("form")
        form.get_by_role("combobox", name="Call").select_option(call)
        form.get_by_role("combobox", name="Fault").select_option(fault)
        for label, number in numbers.items():
            form.get_by_role("spinbutton", name=label).fill(str(number))
        form.get_by_role("button", name="Add fault").click()
        expect(self.faults.filter(has_text=call)).to_have_count(1)

    @property
    def faults(self) -> Locator:
        return self.group("Active faults").get_by_role("listitem")

    def turns_clock(self, label: str) -> None:
        """To one of the moments that matter to the selected user; it has been turned then."""
        with self._turning():
            self.presses(label)

    def forwards(self, seconds: float) -> None:
        """Turn the clock forward by so many seconds."""
        control = self.group("Any time")
        control.get_by_role("spinbutton").fill(str(seconds))
        with self._turning():
            control.get_by_role("button", name="Forward").click()

    @contextmanager
    def _turning(self) -> Iterator[None]:
        with self.page.expect_response("**/clock") as answer:
            yield
        assert answer.value.ok

    def agent(self, does: Literal["Takes the user", "Says", "Closes"], text: str = "") -> None:
        """A human agent takes, answers or lets go the selected user."""
        control = self.group("An agent's ui")
        if text:
            control.get_by_role("textbox", name="Text of the agent").fill(text)
        control.get_by_role("button", name=does, exact=True).click()

    def restarts_bot(self) -> None:
        """Returns when it is up again."""
        with self.page.expect_response("**/bot/restart", timeout=PATIENT) as answer:
            self.group("Restart").get_by_role("button").click()
        assert answer.value.ok

    def changes_account(self, kind: str) -> None:
        """Begins a new session; returns when its bot is up."""
        self.group("Kind of account").get_by_role("radio", name=kind, exact=True).check()
        question = self.page.get_by_role("dialog", name="Begin a new session?")
        with self.page.expect_response("**/account", timeout=PATIENT) as answer:
            question.get_by_role("button", name="Begin anew").click()
        assert answer.value.ok
