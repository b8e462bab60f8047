"""The connection to the server breaks and is restored: the page says so, and finally shows every row once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Pages
from tests.browser.connection import Connection
from tests.browser.playground import Playground
from tests.browser.ui import PlaygroundUI
from tests.browser.words import either
from tests.servers.processes import Port, wait_until

AGAIN = either("Reconnecting…", "正在重连…")
BROKEN = (
    r"net::ERR_(EMPTY_RESPONSE|CONNECTION_\w+|INCOMPLETE_CHUNKED_ENCODING|INTERNET_DISCONNECTED|SOCKET_NOT_CONNECTED)"
)


@pytest.fixture
def connection(lent: Playground) -> Iterator[Connection]:
    with Connection(lent.address) as connection:
        yield connection


@pytest.fixture
def remote_ui(pages: Pages, connection: Connection) -> PlaygroundUI:
    """Open the page through the connection."""
    ui = PlaygroundUI(pages.open(connection.address))
    pages.troubles(ui.page).expect(BROKEN)
    ui.is_live()
    return ui


def check_all_rows(ui: PlaygroundUI, playground: Playground, user: str) -> None:
    """Check that every row of the server is on the page once, in order."""
    everything = [row["n"] for row in playground.server.rows()]
    own = [row["n"] for row in playground.server.rows(user)]
    ui.timeline.says(len(everything), len(everything))
    assert ui.timeline.numbers() == everything
    ui.timeline.by_user.select_option(user)
    ui.timeline.says(len(own), len(everything))
    assert ui.timeline.numbers() == own
    ui.timeline.by_user.select_option("")


def test_no_row_is_lost_or_duplicated_after_a_reconnection(
    remote_ui: PlaygroundUI, connection: Connection, lent: Playground
) -> None:
    amy = remote_ui.add_user("line-amy")
    amy.hears_echo("before")

    connection.cut()
    expect(remote_ui.status(AGAIN)).to_be_visible()
    lent.server.post("/users/line-amy/actions", {"action": "says", "text": "meanwhile"})
    lent.server.post("/users", {"name": "line-ben"})
    wait_until(
        lambda: any(row["kind"] == "send" for row in lent.server.rows("line-amy")[-1:]), "the bot did not answer"
    )
    expect(amy.chat).not_to_contain_text("meanwhile")

    connection.restore()
    remote_ui.is_live()
    expect(remote_ui.status(AGAIN)).to_be_hidden()
    amy.sees("You said: meanwhile")
    amy.sees("You said: before", times=1)
    amy.sees("You said: meanwhile", times=1)
    expect(remote_ui.person("line-ben")).to_be_visible()
    amy.hears_echo("after")
    amy.has_seen("You said: before", "You said: meanwhile", "You said: after")
    check_all_rows(remote_ui, lent, "line-amy")


def has_more_rows(playground: Playground, user: str, known: int) -> bool:
    return len(playground.server.rows(user)) > known


def test_the_page_survives_repeated_disconnections(
    remote_ui: PlaygroundUI, connection: Connection, lent: Playground
) -> None:
    carl = remote_ui.add_user("line-carl")
    for text in ("one", "two", "three"):
        known = len(lent.server.rows("line-carl"))
        carl.says(text)
        wait_until(partial(has_more_rows, lent, "line-carl", known), "the message has reached the server")
        connection.cut()
        expect(remote_ui.status(AGAIN)).to_be_visible()
        connection.restore()
        remote_ui.is_live()
        carl.sees(f"You said: {text}", times=1)
    check_all_rows(remote_ui, lent, "line-carl")


def test_an_unsent_message_is_reported_and_kept(remote_ui: PlaygroundUI, connection: Connection) -> None:
    dora = remote_ui.add_user("line-dora")
    connection.cut()
    expect(remote_ui.status(AGAIN)).to_be_visible()
    dora.field.fill("a long letter")
    dora.field.press("Enter")
    expect(dora.error).to_contain_text("The server of the page cannot be reached.")
    expect(dora.field).to_have_value("a long letter")
    connection.restore()
    remote_ui.is_live()
    dora.field.press("Enter")
    dora.sees("You said: a long letter")
    expect(dora.error).to_be_hidden()


def test_a_reload_shows_the_same(ui: PlaygroundUI, lent: Playground) -> None:
    emil = ui.add_user("line-emil")
    for text in ("first", "second"):
        emil.hears_echo(text)
    before = ui.timeline.numbers()
    ui.page.reload()
    ui.is_live()
    emil = ui.shows("line-emil")
    emil.sees("You said: second", times=1)
    emil.has_seen("You said: first", "You said: second")
    check_all_rows(ui, lent, "line-emil")
    assert ui.timeline.numbers()[: len(before)] == before


def test_two_pages_show_the_same(ui: PlaygroundUI, pages: Pages, lent: Playground) -> None:
    other = PlaygroundUI(pages.open(lent.address))
    other.is_live()
    fay = ui.add_user("line-fay")
    fay.says("to both")
    other.shows("line-fay").sees("You said: to both")
    fay.sees("You said: to both")
    assert ui.timeline.numbers() == other.timeline.numbers()


def test_the_page_follows_a_restarted_playground(pages: Pages, tmp_path: Path) -> None:
    """The first session of a restarted playground is another session: no old data remains on the page."""
    port = str(Port())
    with Playground(tmp_path / "first", words=("--port", port)) as playground:
        ui = PlaygroundUI(pages.open(playground.address))
        pages.troubles(ui.page).expect(BROKEN)
        ui.is_live()
        gail = ui.add_user("gail")
        gail.hears_echo("of the old session")
    expect(ui.status(AGAIN)).to_be_visible()
    with Playground(tmp_path / "second", words=("--port", port)) as playground:
        ui.is_live()
        expect(gail.card).to_be_hidden()
        ui.timeline.says(0, 0)
        hugo = ui.add_user("hugo")
        hugo.hears_echo("of the new one")
        check_all_rows(ui, playground, "hugo")
        ui.page.close()
