"""对方正在输入… in the title of a phone: it shows exactly while the platform shows it, to the right user."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from tests.browser.phone import Phone
from tests.browser.playground import Playground
from tests.browser.ui import PlaygroundUI
from tests.browser.words import TYPING

# Records the periods in which a title shows typing, and the chat text at the end of each.
_WATCH = """(card, typing) => {
  const chat = card.querySelector("[role=log]");
  const periods = (card.typingSpells = []);
  card.typingSeconds = 0;
  let began = null;
  const look = () => {
    const isTyping = card.innerText.includes(typing);
    if (isTyping && began === null) began = performance.now();
    card.typingSeconds = began === null ? 0 : (performance.now() - began) / 1000;
    if (!isTyping && began !== null) {
      periods.push({seconds: card.typingSeconds, chat: chat.innerText});
      began = null;
    }
    requestAnimationFrame(look);
  };
  look();
}"""
ENOUGH = 3.0
"""Seconds of observation: more than the possible delay of a page."""
LATE = 2.0
"""Seconds by which a page on a busy machine may be late. Typing itself lasts 15 s, so the two cannot be confused."""


def watch(phone: Phone) -> None:
    phone.card.evaluate(_WATCH, TYPING)


def periods(phone: Phone) -> list[dict[str, Any]]:
    """Return the periods in which typing showed, with their seconds and the chat text at their end."""
    return list(phone.card.evaluate("card => card.typingSpells"))


def is_watched_typing(phone: Phone, seconds: float) -> None:
    """Wait until the title has shown typing for this long without a break."""
    card = phone.card.element_handle()
    ui = phone.card.page
    ui.wait_for_function("([card, seconds]) => card.typingSeconds > seconds", arg=[card, seconds])


def test_typing_shows_until_the_reply(ui: PlaygroundUI, lent: Playground) -> None:
    amy, ben = ui.add_users("typing-amy", "typing-ben")
    for phone in (amy, ben):
        watch(phone)
    amy.says("wait for typing-answer")
    expect(amy.typing).to_be_visible()
    expect(amy.gauge("Typing")).not_to_have_attribute("aria-valuetext", "none")
    expect(ui.person("typing-amy")).to_have_accessible_description(
        "typing is showing, 30 s window open, 5 replies left"
    )
    ui.timeline.shows("typing", "Typing", "typing-amy")
    ui.timeline.shows("push", "wait for typing-answer", "typing-amy")
    is_watched_typing(amy, ENOUGH)
    assert not amy.chat.get_by_text("There is").is_visible()
    expect(ben.typing).to_be_hidden()

    lent.lets_answer("typing-answer")
    amy.sees("There is typing-answer.")
    expect(amy.typing).to_be_hidden()
    expect(amy.gauge("Typing")).to_have_attribute("aria-valuetext", "none")
    rows = [row for row in lent.server.rows("typing-amy") if row["kind"] in ("typing", "send")]
    assert rows[0]["what"] == "Typing"
    assert rows[-1]["what"] == "There is typing-answer."
    data = lent.server.lanes("typing-amy")["typing"]
    shown = periods(amy)
    assert sum(period["seconds"] for period in shown) > ENOUGH
    assert len(shown) == len(data)
    for period, bar in zip(shown, data, strict=True):
        assert abs(period["seconds"] - (bar["to"] - bar["from"])) < LATE
    assert not periods(ben)

    ben.hears_echo("hello")
    assert len(periods(amy)) == len(shown)


def test_typing_ends_after_15_seconds(ui: PlaygroundUI, lent: Playground) -> None:
    """Typing ends after 15 s of the platform's clock. The bot must not renew it after the window has closed."""
    carl = ui.add_user("typing-carl")
    watch(carl)
    carl.says("wait for typing-end")
    expect(carl.typing).to_be_visible()
    ui.controls.advances_clock("Advance to 31 s")
    expect(carl.typing).to_be_hidden()
    expect(carl.gauge("Window")).to_have_attribute("aria-valuetext", "none")
    assert not carl.chat.get_by_text("There is").is_visible()
    lent.lets_answer("typing-end")
    carl.sees("There is typing-end.")
    [period] = periods(carl)
    assert "There is" not in period["chat"]
    assert all(row["errcode"] in (0, None) for row in lent.server.rows("typing-carl"))


def test_opening_another_phone_does_not_change_the_typing_state(ui: PlaygroundUI, lent: Playground) -> None:
    """A phone opened while the bot types shows typing, and so does the list of users."""
    dora = ui.add_user("typing-dora")
    dora.says("wait for typing-change")
    expect(dora.typing).to_be_visible()
    emil = ui.add_user("typing-emil")
    expect(emil.typing).to_be_hidden()
    dora = ui.shows("typing-dora")
    expect(dora.typing).to_be_visible()
    lent.lets_answer("typing-change")
    dora.sees("There is typing-change.")
    expect(dora.typing).to_be_hidden()
