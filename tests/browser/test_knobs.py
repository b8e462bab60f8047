"""A knob of each kind, as a person turns it at the page, and what the bot makes of it."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.browsing import Pages
from tests.browser.desk import Desk
from tests.browser.playground import Playground


def test_plaintext_and_safe_mode(desk: Desk) -> None:
    """Our own bot is started again for it: with a key it believes nothing but encrypted pushes."""
    amy = desk.add_user("mode-amy")
    desk.knobs.chooses("Mode", "Plaintext")
    desk.is_live()
    amy.says("in clear")
    amy.sees("You said: in clear")
    expect(desk.timeline.shows("push", "in clear", "mode-amy")).to_contain_text("clear")
    expect(desk.timeline.row("push", "in clear")).not_to_contain_text("encrypted")
    details = desk.timeline.opens_row("push", "in clear", "mode-amy")
    expect(details.part("Request: WeChat to the bot")).to_contain_text("in clear")
    expect(details.part("Decrypted, as WeChat wrote it")).to_be_hidden()
    details.closes()

    desk.knobs.chooses("Mode", "Compatible")
    desk.is_live()
    amy.says("in both")
    amy.sees("You said: in both")
    details = desk.timeline.opens_row("push", "in both", "mode-amy")
    expect(details.part("Request: WeChat to the bot")).to_contain_text("Encrypt")
    details.closes()

    desk.knobs.chooses("Mode", "Safe")
    amy.says("in secret")
    amy.sees("You said: in secret")
    expect(desk.timeline.shows("push", "in secret", "mode-amy")).to_contain_text("encrypted")


def test_xml(desk: Desk) -> None:
    ben = desk.add_user("format-ben")
    desk.knobs.chooses("Format", "XML")
    ben.says("angles")
    ben.sees("You said: angles")
    expect(desk.timeline.shows("push", "angles", "format-ben")).to_contain_text("XML")
    details = desk.timeline.opens_row("push", "angles", "format-ben")
    expect(details.part("Decrypted, as WeChat wrote it")).to_contain_text("<Content>")
    details.closes()
    desk.knobs.chooses("Format", "JSON")
    ben.says("braces")
    expect(desk.timeline.shows("push", "braces", "format-ben")).to_contain_text("JSON")


def test_redelivery(desk: Desk) -> None:
    """Two pushes and one answer."""
    carl = desk.add_user("again-carl")
    carl.says("only once")
    carl.sees("You said: only once")
    desk.knobs.presses("Deliver the last push again")
    expect(desk.timeline.row("push", "only once", "again-carl")).to_have_count(2)
    details = desk.timeline.opens_row("push", "only once", "again-carl")
    details.region.get_by_role("button", name="Deliver this push again").click()
    expect(desk.timeline.row("push", "only once", "again-carl")).to_have_count(3)
    _answered_once(desk, "again-carl", "only once")


def test_two_at_once(desk: Desk) -> None:
    dora = desk.add_user("twice-dora")
    desk.knobs.checks("Deliver every push twice at once")
    dora.says("two of me")
    expect(desk.timeline.row("push", "two of me", "twice-dora")).to_have_count(2)
    _answered_once(desk, "twice-dora", "two of me")
    desk.knobs.checks("Deliver every push twice at once", wanted=False)


def _answered_once(desk: Desk, name: str, text: str) -> None:
    """Whoever writes once more is answered: by then a second answer to ``text`` would be there."""
    phone = desk.phone(name)
    phone.says("and now")
    phone.sees("You said: and now")
    phone.sees(f"You said: {text}", times=1)
    expect(desk.timeline.row("reply", f"You said: {text}", name)).to_have_count(1)


def test_held_pushes_are_let_go_reversed(desk: Desk, lent: Playground) -> None:
    emil = desk.add_user("held-emil")
    desk.knobs.presses("Hold pushes")
    for text in ("one", "two", "three"):
        emil.says(text)
    expect(desk.knobs.group("Hold back").get_by_role("status")).to_have_text("3 held back")
    expect(desk.timeline.row("push", user="held-emil")).to_have_count(0)
    expect(desk.knobs.button("Hold pushes")).to_be_disabled()
    desk.knobs.presses("Release reversed")
    for text in ("one", "two", "three"):
        emil.sees(f"You said: {text}")
    pushes = [row["what"] for row in lent.server.rows("held-emil") if row["kind"] == "push"]
    assert pushes == ["three", "two", "one"]
    expect(desk.knobs.button("Release reversed")).to_be_disabled()
    expect(desk.knobs.group("Hold back").get_by_role("status")).to_be_hidden()


def test_a_message_that_is_refused_once(desk: Desk) -> None:
    """-1 (busy) says for certain that it did not arrive: the bot tries again."""
    fay = desk.add_user("fault-fay")
    desk.knobs.orders_fault("send", "errcode (-1: busy)", errcode=-1)
    fay.says("in spite of it")
    fay.sees("You said: in spite of it")
    refused = desk.timeline.row("reply", "fault: errcode -1", "fault-fay")
    expect(refused).to_have_count(1)
    expect(refused.get_by_role("gridcell").nth(4)).to_contain_text("-1 ")
    expect(desk.timeline.row("reply", "You said: in spite of it", "fault-fay")).to_have_count(2)
    fay.sees("You said: in spite of it", times=1)
    expect(desk.knobs.faults).to_have_text("None")
    desk.timeline.toggle("Only problems", "").click()
    desk.timeline.by_user.select_option("fault-fay")
    expect(desk.timeline.rows).to_have_count(1)


def test_faults_can_be_cleared(desk: Desk) -> None:
    gail = desk.add_user("fault-gail")
    form = desk.knobs.group("Order a fault").get_by_role("form")
    form.get_by_role("combobox", name="How often").select_option("until cleared")
    desk.knobs.orders_fault("upload", "HTTP error")
    expect(desk.knobs.faults).to_contain_text("until cleared")
    desk.knobs.presses("Clear all faults")
    expect(desk.knobs.faults).to_have_text("None")
    gail.says("picture")
    gail.sees_picture()


def test_typing_that_is_slow(desk: Desk) -> None:
    """The answer does not wait for a decoration."""
    hugo = desk.add_user("slow-hugo")
    desk.knobs.orders_fault("typing", "slow", Seconds=2)
    hugo.says("slow 1")
    hugo.sees("That took 1 s.")
    expect(desk.timeline.row("typing", "fault: ", "slow-hugo")).to_contain_text("2.00 s")
    expect(hugo.typing).to_be_hidden()


def test_a_token_that_is_revoked(desk: Desk) -> None:
    iris = desk.add_user("token-iris")
    iris.says("before")
    iris.sees("You said: before")
    desk.knobs.presses("Revoke the token")
    iris.says("after")
    iris.sees("You said: after")
    expect(desk.timeline.rows.filter(has_text="40001").first).to_be_visible()
    expect(desk.timeline.row("token").last).to_contain_text("ok")
    iris.sees("You said: after", times=1)


def test_the_window_shuts_and_the_allowance_ends(desk: Desk, lent: Playground) -> None:
    jack = desk.add_user("clock-jack")
    jack.says("tick")
    jack.sees("You said: tick")
    window = jack.gauge("Window")
    desk.knobs.turns_clock("To 29 s")
    expect(window).to_have_attribute("aria-valuetext", re.compile("^(1 seconds|none)$"))
    desk.knobs.turns_clock("To 31 s")
    expect(window).to_have_attribute("aria-valuetext", "none")
    expect(desk.person("clock-jack")).to_have_accessible_description(re.compile("30 s window closed, 4 replies left"))

    desk.knobs.turns_clock("To the end of the 48 h")
    expect(jack.gauge("Replies")).to_have_attribute("aria-valuetext", "0 replies left")
    expect(jack.gauge("48 h", "48 小时")).to_have_attribute("aria-valuetext", "none")
    jack.says("tock")
    jack.sees("You said: tock")
    expect(jack.gauge("Replies")).to_have_attribute("aria-valuetext", "4 replies left")
    assert 45015 not in {row["errcode"] for row in lent.server.rows("clock-jack")}


def test_the_clock_goes_forward_by_any_time(desk: Desk, lent: Playground) -> None:
    before = lent.server.world()["knobs"]["ahead"]
    desk.knobs.forwards(3600)
    assert lent.server.world()["knobs"]["ahead"] - before == 3600
    timer = desk.page.get_by_role("banner").get_by_role("timer")
    expect(timer).to_have_text(re.compile(r"^\d+:\d\d:\d\d$"))


def test_a_human_agent(desk: Desk) -> None:
    """While an agent has the user, the bot hears nothing of them."""
    kate = desk.add_user("agent-kate")
    kate.says("hello")
    kate.sees("You said: hello")
    desk.knobs.agent("Takes the user")
    expect(kate.card.get_by_text("with agent kf1")).to_be_visible()
    kate.says("to a person")
    desk.knobs.agent("Says", "How can I help you, Kate?")
    kate.sees("How can I help you, Kate?")
    kate.sees("Human agent")
    expect(desk.timeline.row("push", "to a person", "agent-kate")).to_have_count(0)
    desk.knobs.agent("Closes")
    expect(kate.card.get_by_text("with agent kf1")).to_be_hidden()
    kate.says("back to the bot")
    kate.sees("You said: back to the bot")
    expect(kate.chat).not_to_contain_text("You said: to a person")


def test_the_bot_is_restarted(desk: Desk) -> None:
    """What it had taken before is answered after."""
    liam = desk.add_user("restart-liam")
    liam.says("slow 1")
    expect(desk.timeline.shows("push", "slow 1", "restart-liam")).to_contain_text("success")
    desk.knobs.restarts_bot()
    desk.is_live()
    liam.sees("That took 1 s.")
    liam.says("awake?")
    liam.sees("You said: awake?")
    liam.sees("That took 1 s.", times=1)


def test_what_the_server_refuses_is_said_beside_the_knob(desk: Desk, pages: Pages) -> None:
    pages.troubles(desk.page).expect("422 .*/clock")
    desk.add_user("refused-mia")
    desk.knobs.presses("To 29 s")
    alert = desk.knobs.group("Window about to close").get_by_role("alert")
    expect(alert).to_contain_text("refused-mia has done nothing yet")
    alert.get_by_role("button", name="Dismiss").click()
    expect(alert).to_be_hidden()
