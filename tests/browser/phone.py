"""The phone of one user on the page: actions of the user, and what the user sees."""

from __future__ import annotations

from collections.abc import Mapping

from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.words import TYPING, either


class Phone:
    """The phone of a user, found by its accessible name in either language."""

    def __init__(self, page: Page, name: str) -> None:
        self.name = name
        self.card = page.get_by_role("article", name=either("Phone of {name}", "{name} 的手机", name=name))
        self.chat = self.card.get_by_role("log", name=either("Chat of {name}", "{name} 的聊天", name=name))
        self.field = self.card.get_by_role("textbox", name=either("Message from {name}", "{name} 的消息", name=name))
        self._page = page

    # -- actions

    def says(self, text: str) -> None:
        """Write a message and press Enter."""
        self.field.fill(text)
        self.field.press("Enter")
        expect(self.field).to_have_value("")

    def hears_echo(self, text: str) -> None:
        """Send a message and wait for the bot's reply, which repeats it."""
        self.says(text)
        self.sees(f"You said: {text}")

    def writes(self, text: str) -> None:
        """Write a message and click Send."""
        self.field.fill(text)
        self.card.get_by_role("button", name=either("Send", "发送")).click()
        expect(self.field).to_have_value("")

    def sends_picture(self, picture: bytes, name: str = "cat.png", kind: str = "image/png") -> None:
        """Send an image: choose a file of this name in the action panel."""
        self.opens_panel()
        with self._page.expect_file_chooser() as chooser:
            self._button("Image", "图片").click()
        chooser.value.set_files(FilePayload(name=name, mimeType=kind, buffer=picture))
        self.closes_panel()

    def does(self, english: str, chinese: str = "", fields: Mapping[str, str] | None = None) -> None:
        """Use a button of the action panel, such as "Follow". ``fields``: values for its form; empty keeps defaults.

        A button without a form gets None.
        """
        self.opens_panel()
        self._button(english, chinese or english).click()
        if fields is not None:
            form = self.card.get_by_role("form", name=either(english, chinese or english))
            for label, value in fields.items():
                form.get_by_role("textbox", name=label, exact=True).fill(value)
            form.get_by_role("button", name=either("Send", "发送")).click()
            expect(form).to_be_hidden()
        self.closes_panel()

    def opens_panel(self) -> None:
        if self._plus.get_attribute("aria-expanded") == "false":
            self._plus.click()
        expect(self._plus).to_have_attribute("aria-expanded", "true")

    def closes_panel(self) -> None:
        if self._plus.get_attribute("aria-expanded") == "true":
            self._plus.click()
        expect(self._plus).to_have_attribute("aria-expanded", "false")

    def clicks(self, label: str) -> None:
        """Click a button in the newest message that has a button of this name."""
        self.chat.get_by_role("button", name=label, exact=True).last.click()

    # -- display

    def sees(self, text: str, times: int | None = None) -> None:
        """Wait until the text is in the chat. ``times``: exactly this often."""
        if times is None:
            expect(self.chat).to_contain_text(text)
        else:
            expect(self.chat.get_by_text(text, exact=True)).to_have_count(times)

    def sees_picture(self, times: int = 1) -> None:
        """Wait until images are displayed, not only placeholders."""
        pictures = self.chat.get_by_role("img", name=either("Image", "图片"))
        expect(pictures).to_have_count(times)
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("complete", value=True)
            assert picture.evaluate("image => image.naturalWidth") > 0

    def has_seen(self, *texts: str) -> None:
        """Check that these texts are in the chat, in this order."""
        chat = self.chat.inner_text()
        places = [chat.find(text) for text in texts]
        assert -1 not in places, f"{texts[places.index(-1)]!r} is not in {chat!r}"
        assert places == sorted(places), f"{texts} are not in this order in {chat!r}"

    @property
    def typing(self) -> Locator:
        """Return the title, if it shows that the bot is typing."""
        return self.card.get_by_text(TYPING, exact=True)

    def gauge(self, english: str, chinese: str = "") -> Locator:
        """Return a gauge. Its aria-valuetext contains the remaining time or number."""
        return self.card.get_by_role("meter", name=either(english, chinese or english))

    @property
    def error(self) -> Locator:
        return self.card.get_by_role("alert")

    @property
    def _plus(self) -> Locator:
        return self._button("More user actions", "更多用户动作")

    def _button(self, english: str, chinese: str) -> Locator:
        return self.card.get_by_role("button", name=either(english, chinese))
