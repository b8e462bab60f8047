"""Saving, replaying and exporting a session; an invalid transcript is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Download, expect

from tests.browser.browsing import Pages
from tests.browser.conftest import open_ui
from tests.browser.playground import Playground
from tests.browser.ui import PATIENT, PlaygroundUI


@pytest.fixture
def fresh_ui(pages: Pages, lent: Playground) -> PlaygroundUI:
    """Open the page of a new session, so that the saved transcript contains only the steps of this test."""
    if lent.server.session()["users"]:
        lent.server.post("/account", {"kind": "miniprogram"})
    return open_ui(pages, lent)


def text_of(download: Download, folder: Path) -> str:
    path = folder / download.suggested_filename
    download.save_as(path)
    return path.read_text(encoding="utf-8")


def test_a_saved_transcript_can_be_replayed(fresh_ui: PlaygroundUI, tmp_path: Path) -> None:
    ui = fresh_ui
    amy = ui.add_user("played-amy")
    amy.hears_echo("good morning")
    amy.says("parts 2")
    amy.sees("Part 2")
    saved = ui.saves("Save transcript", "保存录制文件")
    expect(ui.page.get_by_role("status").filter(has_text=f"Saved as {saved.suggested_filename}.")).to_be_visible()
    assert saved.suggested_filename == "conversation.yaml"
    transcript = text_of(saved, tmp_path)
    assert "played-amy says: good morning" in transcript

    place = ui.plays("again.yaml", transcript)
    expect(place.get_by_text("again.yaml")).to_be_visible()
    expect(place.get_by_role("status")).to_contain_text("PASS: ", timeout=PATIENT)
    expect(place.get_by_role("list", name="Differences")).to_be_hidden()
    amy = ui.shows("played-amy")
    amy.sees("Part 2", times=1)
    amy.has_seen("good morning", "You said: good morning", "parts 2", "Part 1", "Part 2")

    place = ui.plays("other.yaml", transcript.replace("You said: good morning", "You said: good evening"))
    expect(place.get_by_role("status")).to_contain_text("FAIL: replies differ", timeout=PATIENT)
    problems = place.get_by_role("list", name="Differences")
    expect(problems).to_contain_text("good evening")
    expect(problems).to_contain_text("good morning")
    expect(place.get_by_text("other.yaml").first).to_be_visible()


def test_an_invalid_transcript_is_refused_with_its_line(ui: PlaygroundUI, pages: Pages) -> None:
    pages.troubles(ui.page).expect("422 .*/play")
    place = ui.plays("bad.yaml", "wxbot-transcript: 1\nsteps:\n- amy says: hello\n- amy does what: she likes\n")
    alert = place.get_by_role("alert")
    expect(alert).to_contain_text("bad.yaml, line 4: ")
    place = ui.plays("list.yaml", "- [\n")
    expect(alert).to_have_count(1)
    expect(alert).to_contain_text("list.yaml, line ")
    alert.get_by_role("button", name="Dismiss").click()
    expect(alert).to_be_hidden()


def test_a_session_can_be_exported_as_pytest(fresh_ui: PlaygroundUI, tmp_path: Path) -> None:
    ben = fresh_ui.add_user("exported-ben")
    ben.hears_echo("hello")
    saved = fresh_ui.saves("Export as pytest", "导出 pytest")
    assert saved.suggested_filename == "test_conversation.py"
    source = text_of(saved, tmp_path)
    compile(source, saved.suggested_filename, "exec")
    assert "def test_" in source
    assert "You said: hello" in source
