"""The line to the server breaks and comes back: the page says so, and in the end shows all there is, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Pages
from tests.browser.desk import Desk
from tests.browser.line import Line
from tests.browser.playground import Playground
from tests.browser.words import either
from tests.servers.processes import Port, wait_until

AGAIN = either("Reconnecting…", "正在重连…")
BROKEN = (
    r"net::ERR_(EMPTY_RESPONSE|CONNECTION_\w+|INCOMPLETE_CHUNKED_ENCODING|INTERNET_DISCONNECTED|SOCKET_NOT_CONNECTED)"
)


@pytest.fixture
def line(lent: Playground) -> Iterator[Line]:
    with Line(lent.address) as line:
        yield line


@pytest.fixture
def far_desk(pages: Pages, line: Line) -> Desk:
    """The page at the other end of the line."""
    desk = Desk(pages.open(line.address))
    pages.troubles(desk.page).expect(BROKEN)
    desk.is_live()
    return desk


def shows_what_there_is(desk: Desk, playground: Playground, user: str) -> None:
    """Every row of the server is on the page, once, and in its place."""
    everything = [row["n"] for row in playground.server.rows()]
    own = [row["n"] for row in playground.server.rows(user)]
    desk.timeline.says(len(everything), len(everything))
    assert desk.timeline.numbers() == everything
    desk.timeline.by_user.select_option(user)
    desk.timeline.says(len(own), len(everything))
    assert desk.timeline.numbers() == own
    desk.timeline.by_user.select_option("")


def test_nothing_is_lost_or_doubled(far_desk: Desk, line: Line, lent: Playground) -> None:
    amy = far_desk.add_user("line-amy")
    amy.says("before")
    amy.sees("You said: before")

    line.cut()
    expect(far_desk.status(AGAIN)).to_be_visible()
    lent.server.post("/users/line-amy/deeds", {"deed": "says", "text": "meanwhile"})
    lent.server.post("/users", {"name": "line-ben"})
    wait_until(
        lambda: any(row["kind"] == "send" for row in lent.server.rows("line-amy")[-1:]), "the bot did not answer"
    )
    expect(amy.chat).not_to_contain_text("meanwhile")

    line.mend()
    far_desk.is_live()
    expect(far_desk.status(AGAIN)).to_be_hidden()
    amy.sees("You said: meanwhile")
    amy.sees("You said: before", times=1)
    amy.sees("You said: meanwhile", times=1)
    expect(far_desk.person("line-ben")).to_be_visible()
    amy.says("after")
    amy.sees("You said: after")
    amy.has_seen("You said: before", "You said: meanwhile", "You said: after")
    shows_what_there_is(far_desk, lent, "line-amy")


def test_it_breaks_again_and_again(far_desk: Desk, line: Line, lent: Playground) -> None:
    carl = far_desk.add_user("line-carl")
    for text in ("one", "two", "three"):
        carl.says(text)
        line.cut()
        expect(far_desk.status(AGAIN)).to_be_visible()
        line.mend()
        far_desk.is_live()
        carl.sees(f"You said: {text}", times=1)
    shows_what_there_is(far_desk, lent, "line-carl")


def test_what_cannot_be_sent_is_said_and_kept(far_desk: Desk, line: Line) -> None:
    dora = far_desk.add_user("line-dora")
    line.cut()
    expect(far_desk.status(AGAIN)).to_be_visible()
    dora.field.fill("a long letter")
    dora.field.press("Enter")
    expect(dora.error).to_contain_text("The page's server cannot be reached.")
    expect(dora.field).to_have_value("a long letter")
    line.mend()
    far_desk.is_live()
    dora.field.press("Enter")
    dora.sees("You said: a long letter")
    expect(dora.error).to_be_hidden()


def test_a_reload_shows_the_same(desk: Desk, lent: Playground) -> None:
    emil = desk.add_user("line-emil")
    for text in ("first", "second"):
        emil.says(text)
        emil.sees(f"You said: {text}")
    before = desk.timeline.numbers()
    desk.page.reload()
    desk.is_live()
    emil = desk.shows("line-emil")
    emil.sees("You said: second", times=1)
    emil.has_seen("You said: first", "You said: second")
    shows_what_there_is(desk, lent, "line-emil")
    assert desk.timeline.numbers()[: len(before)] == before


def test_two_pages_show_the_same(desk: Desk, pages: Pages, lent: Playground) -> None:
    other = Desk(pages.open(lent.address))
    other.is_live()
    fay = desk.add_user("line-fay")
    fay.says("to both")
    other.shows("line-fay").sees("You said: to both")
    fay.sees("You said: to both")
    assert desk.timeline.numbers() == other.timeline.numbers()


def test_the_playground_is_started_anew(pages: Pages, tmp_path: Path) -> None:
    """Its first world is another first world: nothing of the old one is left on the page."""
    port = str(Port())
    with Playground(tmp_path / "first", words=("--port", port)) as playground:
        desk = Desk(pages.open(playground.address))
        pages.troubles(desk.page).expect(BROKEN)
        desk.is_live()
        gail = desk.add_user("gail")
        gail.says("of the old world")
        gail.sees("You said: of the old world")
    expect(desk.status(AGAIN)).to_be_visible()
    with Playground(tmp_path / "second", words=("--port", port)) as playground:
        desk.is_live()
        expect(gail.card).to_be_hidden()
        desk.timeline.says(0, 0)
        hugo = desk.add_user("hugo")
        hugo.says("of the new one")
        hugo.sees("You said: of the new one")
        shows_what_there_is(desk, playground, "hugo")
        desk.page.close()
