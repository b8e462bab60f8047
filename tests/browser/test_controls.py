"""The controls of the page, and the reactions of the bot."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.browsing import Pages
from tests.browser.playground import Playground
from tests.browser.ui import PlaygroundUI


def test_the_encryption_mode_can_be_changed(ui: PlaygroundUI) -> None:
    """The mode switch restarts the local bot, because a bot with a key accepts only encrypted pushes."""
    amy = ui.add_user("mode-amy")
    ui.controls.chooses("Encryption mode", "Plaintext")
    ui.is_live()
    amy.hears_echo("in clear")
    expect(ui.timeline.shows("push", "in clear", "mode-amy")).to_contain_text("plaintext")
    expect(ui.timeline.row("push", "in clear")).not_to_contain_text("encrypted")
    details = ui.timeline.opens_row("push", "in clear", "mode-amy")
    expect(details.part("Request: WeChat to the bot")).to_contain_text("in clear")
    expect(details.part("Decrypted push, as written by WeChat")).to_be_hidden()
    details.closes()

    ui.controls.chooses("Encryption mode", "Compatible")
    ui.is_live()
    amy.hears_echo("in both")
    details = ui.timeline.opens_row("push", "in both", "mode-amy")
    expect(details.part("Request: WeChat to the bot")).to_contain_text("Encrypt")
    details.closes()

    ui.controls.chooses("Encryption mode", "Safe")
    amy.hears_echo("in secret")
    expect(ui.timeline.shows("push", "in secret", "mode-amy")).to_contain_text("encrypted")


def test_the_format_can_be_changed_to_xml(ui: PlaygroundUI) -> None:
    ben = ui.add_user("format-ben")
    ui.controls.chooses("Format", "XML")
    ben.hears_echo("angles")
    expect(ui.timeline.shows("push", "angles", "format-ben")).to_contain_text("XML")
    details = ui.timeline.opens_row("push", "angles", "format-ben")
    expect(details.part("Decrypted push, as written by WeChat")).to_contain_text("<Content>")
    details.closes()
    ui.controls.chooses("Format", "JSON")
    ben.says("braces")
    expect(ui.timeline.shows("push", "braces", "format-ben")).to_contain_text("JSON")


def test_a_redelivered_push_is_answered_once(ui: PlaygroundUI) -> None:
    """Two pushes lead to one reply."""
    carl = ui.add_user("again-carl")
    carl.hears_echo("only once")
    ui.controls.presses("Redeliver the last push")
    expect(ui.timeline.row("push", "only once", "again-carl")).to_have_count(2)
    details = ui.timeline.opens_row("push", "only once", "again-carl")
    details.region.get_by_role("button", name="Redeliver this push").click()
    expect(ui.timeline.row("push", "only once", "again-carl")).to_have_count(3)
    _answered_once(ui, "again-carl", "only once")


def test_concurrent_duplicates_are_answered_once(ui: PlaygroundUI) -> None:
    dora = ui.add_user("twice-dora")
    ui.controls.checks("Deliver every push twice at the same time")
    dora.says("two of me")
    expect(ui.timeline.row("push", "two of me", "twice-dora")).to_have_count(2)
    _answered_once(ui, "twice-dora", "two of me")
    ui.controls.checks("Deliver every push twice at the same time", wanted=False)


def _answered_once(ui: PlaygroundUI, name: str, text: str) -> None:
    """Send another message and wait for its reply: a second reply to ``text`` would arrive before it."""
    phone = ui.phone(name)
    phone.hears_echo("and now")
    phone.sees(f"You said: {text}", times=1)
    expect(ui.timeline.row("reply", f"You said: {text}", name)).to_have_count(1)


def test_held_pushes_are_released_in_reverse(ui: PlaygroundUI, lent: Playground) -> None:
    emil = ui.add_user("held-emil")
    ui.controls.presses("Hold")
    for text in ("one", "two", "three"):
        emil.says(text)
    expect(ui.controls.group("Hold pushes").get_by_role("status")).to_have_text("3 held")
    expect(ui.timeline.row("push", user="held-emil")).to_have_count(0)
    expect(ui.controls.button("Hold")).to_be_disabled()
    ui.controls.presses("Release reversed")
    for text in ("one", "two", "three"):
        emil.sees(f"You said: {text}")
    pushes = [row["what"] for row in lent.server.rows("held-emil") if row["kind"] == "push"]
    assert pushes == ["three", "two", "one"]
    expect(ui.controls.button("Release reversed")).to_be_disabled()
    expect(ui.controls.group("Hold pushes").get_by_role("status")).to_be_hidden()


def test_a_send_that_fails_once_is_retried(ui: PlaygroundUI) -> None:
    """errcode -1 (busy) means that the message certainly did not arrive, so the bot retries."""
    fay = ui.add_user("fault-fay")
    ui.controls.injects_fault("send", "errcode (-1: system busy)", errcode=-1)
    fay.hears_echo("in spite of it")
    refused = ui.timeline.row("reply", "fault: errcode -1", "fault-fay")
    expect(refused).to_have_count(1)
    expect(refused.get_by_role("gridcell").nth(4)).to_contain_text("-1 ")
    expect(ui.timeline.row("reply", "You said: in spite of it", "fault-fay")).to_have_count(2)
    fay.sees("You said: in spite of it", times=1)
    expect(ui.controls.faults).to_have_text("None")
    ui.timeline.toggle("Problems only", "").click()
    ui.timeline.by_user.select_option("fault-fay")
    expect(ui.timeline.rows).to_have_count(1)


def test_faults_can_be_cleared(ui: PlaygroundUI) -> None:
    gail = ui.add_user("fault-gail")
    form = ui.controls.group("Inject a fault").get_by_role("form")
    form.get_by_role("combobox", name="How often").select_option("until cleared")
    ui.controls.injects_fault("upload", "HTTP error")
    expect(ui.controls.faults).to_contain_text("until cleared")
    ui.controls.presses("Clear all faults")
    expect(ui.controls.faults).to_have_text("None")
    gail.says("picture")
    gail.sees_picture()


def test_a_slow_typing_call_does_not_delay_the_reply(ui: PlaygroundUI) -> None:
    """The reply does not wait for a slow typing call."""
    hugo = ui.add_user("slow-hugo")
    ui.controls.injects_fault("typing", "slow response", Seconds=2)
    hugo.says("slow 1")
    hugo.sees("That took 1 s.")
    expect(ui.timeline.row("typing", "fault: ", "slow-hugo")).to_contain_text("2.00 s")
    expect(hugo.typing).to_be_hidden()


def test_a_revoked_token_is_fetched_again(ui: PlaygroundUI) -> None:
    iris = ui.add_user("token-iris")
    iris.hears_echo("before")
    ui.controls.presses("Revoke the token")
    iris.hears_echo("after")
    expect(ui.timeline.rows.filter(has_text="40001").first).to_be_visible()
    expect(ui.timeline.row("token").last).to_contain_text("ok")
    iris.sees("You said: after", times=1)


def test_the_window_closes_and_the_quota_expires(ui: PlaygroundUI, lent: Playground) -> None:
    jack = ui.add_user("clock-jack")
    jack.hears_echo("tick")
    window = jack.gauge("Window")
    ui.controls.advances_clock("Advance to 29 s")
    expect(window).to_have_attribute("aria-valuetext", re.compile("^(1 seconds|none)$"))
    ui.controls.advances_clock("Advance to 31 s")
    expect(window).to_have_attribute("aria-valuetext", "none")
    expect(ui.person("clock-jack")).to_have_accessible_description(re.compile("30 s window closed, 4 replies left"))

    ui.controls.advances_clock("Advance past 48 h")
    expect(jack.gauge("Replies")).to_have_attribute("aria-valuetext", "0 replies left")
    expect(jack.gauge("48 h", "48 小时")).to_have_attribute("aria-valuetext", "none")
    jack.hears_echo("tock")
    expect(jack.gauge("Replies")).to_have_attribute("aria-valuetext", "4 replies left")
    assert 45015 not in {row["errcode"] for row in lent.server.rows("clock-jack")}


def test_the_clock_can_be_advanced_by_any_time(ui: PlaygroundUI, lent: Playground) -> None:
    before = lent.server.session()["controls"]["ahead"]
    ui.controls.forwards(3600)
    assert lent.server.session()["controls"]["ahead"] - before == 3600
    timer = ui.page.get_by_role("banner").get_by_role("timer")
    expect(timer).to_have_text(re.compile(r"^\d+:\d\d:\d\d$"))


def test_the_bot_is_silent_while_an_agent_has_the_user(ui: PlaygroundUI) -> None:
    """Messages are not pushed to the bot while an agent handles the user."""
    kate = ui.add_user("agent-kate")
    kate.hears_echo("hello")
    ui.controls.agent("Take session")
    expect(kate.card.get_by_text("with agent kf1")).to_be_visible()
    kate.says("to a person")
    ui.controls.agent("Send", "How can I help you, Kate?")
    kate.sees("How can I help you, Kate?")
    kate.sees("Human agent")
    expect(ui.timeline.row("push", "to a person", "agent-kate")).to_have_count(0)
    ui.controls.agent("Close session")
    expect(kate.card.get_by_text("with agent kf1")).to_be_hidden()
    kate.hears_echo("back to the bot")
    expect(kate.chat).not_to_contain_text("You said: to a person")


def test_the_bot_can_be_restarted(ui: PlaygroundUI) -> None:
    """Messages that were acknowledged before the restart are processed after it."""
    liam = ui.add_user("restart-liam")
    liam.says("slow 1")
    expect(ui.timeline.shows("push", "slow 1", "restart-liam")).to_contain_text("success")
    ui.controls.restarts_bot()
    ui.is_live()
    liam.sees("That took 1 s.")
    liam.hears_echo("awake?")
    liam.sees("That took 1 s.", times=1)


def test_an_error_of_the_server_is_shown_beside_the_control(ui: PlaygroundUI, pages: Pages) -> None:
    pages.troubles(ui.page).expect("422 .*/clock")
    ui.add_user("refused-mia")
    ui.controls.presses("Advance to 29 s")
    alert = ui.controls.group("Window about to close").get_by_role("alert")
    expect(alert).to_contain_text("refused-mia has no interaction yet")
    alert.get_by_role("button", name="Dismiss").click()
    expect(alert).to_be_hidden()
