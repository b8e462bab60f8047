"""对方正在输入… at the title of a phone: while the platform shows it, to whom it shows it, and no longer."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from tests.browser.desk import Desk
from tests.browser.phone import Phone
from tests.browser.playground import Playground
from tests.browser.words import TYPING

# Notes the seconds for which a title says that the bot is typing, and what the chat held when it ceased to.
_WATCH = """(card, typing) => {
  const chat = card.querySelector("[role=log]");
  const spells = (card.typingSpells = []);
  let began = null;
  const look = () => {
    const isTyping = card.innerText.includes(typing);
    if (isTyping && began === null) began = performance.now();
    if (!isTyping && began !== null) {
      spells.push({seconds: (performance.now() - began) / 1000, chat: chat.innerText});
      began = null;
    }
    requestAnimationFrame(look);
  };
  look();
}"""
LATE = 2.0
"""Seconds by which a page on a busy machine may be late. The indicator lasts 15 s by itself: it cannot be mistaken."""


def watch(phone: Phone) -> None:
    phone.card.evaluate(_WATCH, TYPING)


def spells(phone: Phone) -> list[dict[str, Any]]:
    """When it was shown so far: each with its seconds, and the text of the chat as it ended."""
    return list(phone.card.evaluate("card => card.typingSpells"))


def test_an_answer_of_eight_seconds(desk: Desk, lent: Playground) -> None:
    amy, ben = desk.add_users("typing-amy", "typing-ben")
    for phone in (amy, ben):
        watch(phone)
    amy.says("slow 8")
    expect(amy.typing).to_be_visible()
    expect(amy.gauge("Typing")).not_to_have_attribute("aria-valuetext", "none")
    expect(desk.person("typing-amy")).to_have_accessible_description(
        "is shown typing, 30 s window open, 5 replies left"
    )
    desk.timeline.shows("typing", "Typing", "typing-amy")
    desk.timeline.shows("push", "slow 8", "typing-amy")
    assert not amy.chat.get_by_text("That took").is_visible()
    expect(ben.typing).to_be_hidden()

    amy.sees("That took 8 s.")
    expect(amy.typing).to_be_hidden()
    expect(amy.gauge("Typing")).to_have_attribute("aria-valuetext", "none")
    rows = [row for row in lent.server.rows("typing-amy") if row["kind"] in ("typing", "send")]
    assert rows[0]["what"] == "Typing"
    assert rows[-1]["what"] == "That took 8 s."
    told = lent.server.lanes("typing-amy")["typing"]
    shown = spells(amy)
    assert sum(spell["seconds"] for spell in shown) > 6
    assert len(shown) == len(told)
    for spell, bar in zip(shown, told, strict=True):
        assert abs(spell["seconds"] - (bar["to"] - bar["from"])) < LATE
    assert not spells(ben)

    ben.says("hello")
    ben.sees("You said: hello")
    assert len(spells(amy)) == len(shown)


def test_the_indicator_ends_by_itself(desk: Desk, lent: Playground) -> None:
    """After 15 s by the platform's clock; the bot may not show it anew when the window is shut."""
    carl = desk.add_user("typing-carl")
    watch(carl)
    carl.says("slow 5")
    expect(carl.typing).to_be_visible()
    desk.knobs.turns_clock("To 31 s")
    expect(carl.typing).to_be_hidden()
    expect(carl.gauge("Window")).to_have_attribute("aria-valuetext", "none")
    assert not carl.chat.get_by_text("That took").is_visible()
    carl.sees("That took 5 s.")
    [spell] = spells(carl)
    assert "That took" not in spell["chat"]
    assert all(row["errcode"] in (0, None) for row in lent.server.rows("typing-carl"))


def test_what_another_phone_shows_is_not_touched_by_a_change_of_phones(desk: Desk) -> None:
    """Whoever looks at a phone while the bot types sees it, and the list of users says so of all."""
    dora = desk.add_user("typing-dora")
    dora.says("slow 3")
    expect(dora.typing).to_be_visible()
    emil = desk.add_user("typing-emil")
    expect(emil.typing).to_be_hidden()
    dora = desk.shows("typing-dora")
    expect(dora.typing).to_be_visible()
    dora.sees("That took 3 s.")
    expect(dora.typing).to_be_hidden()
