"""The playground's page end to end: users act on the phones, and the page shows the activity."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.browsing import Pages
from tests.browser.playground import Playground
from tests.browser.plugins.stories import png
from tests.browser.ui import PlaygroundUI


def test_two_users_chat_side_by_side(ui: PlaygroundUI) -> None:
    amy, ben = ui.add_users("amy", "ben")
    amy.does("Enter session", fields={"session_from": "pages/help"})
    amy.sees("entered the session")
    amy.hears_echo("good morning")
    ben.writes("早上好")
    ben.sees("You said: 早上好")
    amy.has_seen("entered the session: pages/help", "good morning", "You said: good morning")
    expect(amy.chat).not_to_contain_text("早上好")
    expect(ben.chat).not_to_contain_text("good morning")
    expect(amy.gauge("Window")).to_have_attribute("aria-valuetext", re.compile(r"^(30|2\d) seconds$"))
    expect(ben.gauge("Replies")).to_have_attribute("aria-valuetext", "4 replies left")

    ui.timeline.shows("action", "good morning", "amy")
    ui.timeline.shows("push", "good morning", "amy")
    expect(ui.timeline.shows("push", "早上好", "ben")).to_contain_text("encrypted")
    expect(ui.timeline.shows("reply", "You said: 早上好", "ben")).to_contain_text("ok")
    expect(ui.timeline.row("typing", "CancelTyping", "ben")).to_have_count(1)

    amy.card.get_by_role("button", name="Close the phone of amy").click()
    expect(amy.card).to_be_hidden()
    expect(ben.card).to_be_visible()
    ben.hears_echo("still here")
    assert ui.shows("amy").card.is_visible()


def test_unread_messages_are_counted(ui: PlaygroundUI, lent: Playground) -> None:
    """A user without an open phone gets a message: the list of users counts it."""
    away = ui.add_user("away")
    away.says("wait for nobody")
    ui.add_user("near")
    expect(away.card).to_be_hidden()
    lent.lets_answer("nobody")
    expect(ui.person("away")).to_have_accessible_description(re.compile("^1 unread, "))
    ui.shows("away").sees("There is nobody.")
    expect(ui.person("away")).not_to_have_accessible_description(re.compile("unread"))


def test_messages_and_replies_are_displayed(ui: PlaygroundUI) -> None:
    carl = ui.add_user("carl")
    carl.does("Mini Program card", fields={"Title": "Order 7", "Page path": "pages/order?id=7"})
    expect(carl.chat).to_contain_text("Order 7")
    expect(carl.chat).to_contain_text("pages/order?id=7")

    carl.sends_picture(png(200, 30, 30))
    carl.sees("A nice picture.")
    carl.sees_picture()
    carl.says("picture")
    carl.sees_picture(times=2)

    carl.says("card")
    carl.sees("Your orders")
    carl.sees("pages/orders")

    carl.says("link")
    link = carl.chat.get_by_role("link", name=re.compile("A page"))
    expect(link).to_have_attribute("href", "https://example.com/page")
    expect(link).to_have_attribute("rel", re.compile("noopener"))
    expect(link).to_have_attribute("target", "_blank")


def test_links_work_and_markup_is_text(ui: PlaygroundUI) -> None:
    dora = ui.add_user("dora")
    dora.says("words")
    expect(dora.chat.get_by_role("link", name="this")).to_have_attribute("href", "https://example.com/")
    dora.sees("<img src=x> <b>not bold</b>")
    expect(dora.chat.get_by_role("img")).to_have_count(0)


def test_invalid_images_are_refused(ui: PlaygroundUI, pages: Pages) -> None:
    """The page refuses a file by its declared type, the server by its content."""
    pages.troubles(ui.page).expect("400 .*/users/emil/images")
    emil = ui.add_user("emil")
    emil.sends_picture(b"PK", "archive.zip", "application/zip")
    expect(emil.error).to_contain_text("archive.zip is not a JPEG, PNG or GIF.")
    emil.sends_picture(b"PK", "archive.png")
    expect(emil.error).to_contain_text("send a JPEG, PNG or GIF file")
    emil.error.get_by_role("button", name="Dismiss").click()
    expect(emil.error).to_be_hidden()
    expect(ui.timeline.row("action", user="emil")).to_have_count(0)


def test_an_official_account_has_its_own_actions(ui: PlaygroundUI) -> None:
    ui.controls.changes_account("Official Account, verified")
    expect(ui.page.get_by_text("No users yet")).to_be_visible()
    ui.is_live()
    fay = ui.add_user("fay")
    expect(fay.card.get_by_text("not following").or_(fay.card.get_by_text("following")).first).to_be_visible()
    fay.does("Follow", fields={"Scene of the QR code": ""})
    fay.sees("followed")
    fay.sees("Welcome.")
    expect(fay.card.get_by_text("following", exact=True)).to_be_visible()
    fay.does("Click a menu item", fields={"Key of the menu item": "prices"})
    fay.sees("You clicked: prices")
    fay.has_seen("followed", "Welcome.", "clicked a menu item: prices", "You clicked: prices")
    fay.says("menu")
    fay.clicks("Yes")
    fay.sees("You said: Yes")
    fay.has_seen("Did that help?", "Yes", "No", "Thank you.", "You said: Yes")
    fay.says("words")
    fay.clicks("menu")
    expect(fay.chat.get_by_text("Did that help?")).to_have_count(2)
    fay.does("Voice")
    expect(fay.chat.get_by_role("button", name="Play voice message")).to_be_visible()
    fay.does("Unfollow")
    fay.sees("unfollowed")
    expect(fay.card.get_by_text("no longer following")).to_be_visible()
    expect(ui.timeline.shows("push", "unsubscribe", "fay")).to_contain_text("XML")


def test_the_details_show_the_raw_messages(ui: PlaygroundUI, lent: Playground) -> None:
    gail = ui.add_user("gail")
    gail.hears_echo("a letter")
    secrets = lent.secrets()
    assert len(secrets) == 3
    ui.timeline.by_user.select_option("gail")

    push = ui.timeline.opens_row("push", "a letter")
    expect(push.heading).to_be_focused()
    request = push.part("Request: WeChat to the bot")
    expect(request).to_contain_text("POST /wechat?")
    expect(request).to_contain_text("Encrypt")
    expect(request).not_to_contain_text("a letter")
    expect(push.part("Decrypted push, as written by WeChat")).to_contain_text("a letter")
    expect(push.part("Response: the bot to WeChat")).to_contain_text("success")
    expect(push.region.get_by_role("table", name="Message fields")).to_contain_text("MsgId")
    _has_none(push.region.inner_text(), secrets)

    reply = ui.timeline.opens_row("reply", "You said: a letter")
    expect(reply.part("Request: the bot to WeChat")).to_contain_text(
        "POST /cgi-bin/message/custom/send?access_token=•••"
    )
    expect(reply.part("Response: WeChat to the bot")).to_contain_text('"errcode"')
    _has_none(reply.region.inner_text(), secrets)

    ui.timeline.by_user.select_option("")
    ui.timeline.search.fill("stable_token")
    token = ui.timeline.opens_row("token", "stable_token")
    expect(token.part("Response: WeChat to the bot")).to_contain_text("•••")
    _has_none(token.region.inner_text(), secrets)
    token.closes()
    expect(ui.timeline.grid).to_be_focused()


def _has_none(text: str, secrets: set[str]) -> None:
    assert not [secret for secret in secrets if secret in text]


def test_the_timeline_can_be_filtered_and_searched(ui: PlaygroundUI, lent: Playground) -> None:
    hugo = ui.add_user("hugo")
    hugo.hears_echo("first")
    hugo.hears_echo("second")
    timeline = ui.timeline
    everything, own = len(lent.server.rows()), lent.server.rows("hugo")
    timeline.says(everything, everything)
    timeline.by_user.select_option("hugo")
    timeline.says(len(own), everything)
    for name, kinds in {"Actions": {"user"}, "Typing": {"typing"}, "Replies": {"send"}}.items():
        timeline.toggle(name, "").click()
        expect(timeline.toggle(name, "")).to_have_attribute("aria-pressed", "false")
        own = [row for row in own if row["kind"] not in kinds]
        timeline.says(len(own), everything)
    expect(timeline.rows).to_have_count(2)
    timeline.search.fill("SECOND")
    timeline.says(1, everything)
    timeline.shows("push", "second", "hugo")
    timeline.toggle("Problems only", "").click()
    expect(ui.page.get_by_text("No row matches the filters.")).to_be_visible()


def test_the_lanes_show_typing_and_replies(ui: PlaygroundUI) -> None:
    iris = ui.add_user("iris")
    iris.says("slow 1")
    iris.sees("That took 1 s.")
    lanes = ui.opens_lanes()
    drawing = lanes.get_by_role("img", name=re.compile("^Lanes of iris"))
    expect(drawing).to_have_accessible_name(re.compile(r"Typing: 1.*Messages: 1, Refused calls: 0$"))
    lanes.get_by_text("Show as a table").click()
    table = lanes.get_by_role("table")
    for lane, text in {"User": "slow 1", "Typing": "Typing", "Messages": "That took 1 s."}.items():
        row = table.get_by_role("row").filter(has=ui.page.get_by_role("rowheader", name=lane, exact=True))
        expect(row).to_contain_text(text)
    table.get_by_role("button", name=re.compile("^Open row")).last.click()
    expect(ui.details.heading).to_be_visible()


def test_the_bot_log_shows_the_reason_of_a_failure(ui: PlaygroundUI) -> None:
    jack = ui.add_user("jack")
    jack.says("crash")
    log = ui.opens_log().get_by_role("log", name="Bot log")
    expect(log).to_contain_text("Traceback (most recent call last)")
    expect(log).to_contain_text("RuntimeError: this plugin is broken on purpose")
